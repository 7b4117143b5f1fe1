/** One turn: the messages, and the answers next to each other. */
import type { ChatMessage } from "../../../../client/chat_stream.ts";
import { pluralize } from "../../lib/format.ts";
import { AnswerText, AnswerView } from "./answer.tsx";
import { formatCall } from "./tool_calls.ts";
import type { Turn } from "./turns.ts";
import type { Conversation } from "./use_conversation.ts";

export function TurnView({ turn, number, conversation }: {
  turn: Turn;
  /** Its index in the conversation. */
  number: number;
  conversation: Conversation;
}) {
  const { messages, tools, source, expected, startsOver, columns } = turn;
  return (
    <article class="turn" aria-label={`Turn ${number + 1}`}>
      {(source !== null || (startsOver && number > 0)) && (
        <p class="quiet small">
          {source ?? "New conversation"}
          {tools !== null && `, with ${pluralize(tools.length, "tool")}`}
        </p>
      )}
      <MessageList messages={messages} />
      <div class="answers">
        {columns.map((answers, column) =>
          answers.length === 0 ? null : (
            <div class="answer" key={column}>
              <h3>
                {answers[0]?.label}
                <span class="quiet small">{answers[0]?.model}</span>
              </h3>
              {answers.map((answer, index) => (
                <AnswerView
                  key={index}
                  answer={answer}
                  expected={index === 0 ? expected : null}
                  onRetry={() => conversation.retry({ turn: number, column, index })}
                  onResults={(results) =>
                    conversation.sendResults(
                      { turn: number, column, index },
                      results,
                    )}
                />
              ))}
            </div>
          )
        )}
        {expected !== null && (
          <div class="answer expected">
            <h3>Expected answer</h3>
            <AnswerText text={expected} />
          </div>
        )}
      </div>
    </article>
  );
}

const roles: Record<ChatMessage["role"], string> = {
  system: "System prompt",
  user: "User",
  assistant: "Assistant",
  tool: "Tool result",
};

export const MessageList = ({ messages }: { messages: ChatMessage[] }) => (
  <dl class="messages">
    {messages.map((message, n) => (
      <div key={n} class={message.role}>
        <dt>{roles[message.role]}</dt>
        <dd>
          {message.content}
          {message.role === "assistant" &&
            message.tool_calls?.map(({ id, function: call }) => <code key={id}>{formatCall(call)}</code>)}
        </dd>
      </div>
    ))}
  </dl>
);
