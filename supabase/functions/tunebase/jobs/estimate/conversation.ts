/** Parses a canonical row into conversations, like the trainer, but leniently: only to count tokens. */
import * as z from "zod";

/** A tool call as templates expect it, with arguments as an object. */
const Call = z.looseObject({
  function: z.looseObject({
    name: z.string(),
    arguments: z.string().transform((text): unknown => JSON.parse(text)),
  }),
});

export interface Turn {
  role: string;
  content: string;
  trainable: boolean;
  tool_calls?: z.infer<typeof Call>[];
}

/** A conversation up to its last trainable turn. */
export interface Conversation {
  turns: Turn[];
  tools: unknown[];
}

const Content = z.union([
  z.string(),
  z.array(z.looseObject({ text: z.string().optional() })).transform((parts) =>
    parts.map(({ text }) => text ?? "").join("")
  ),
]).nullish();
const Chat = z.looseObject({
  messages: z.array(z.looseObject({
    role: z.string(),
    content: Content,
    weight: z.number().nullish(),
    tool_calls: z.array(Call).nullish().catch(null),
    function_call: z.looseObject({}).nullish(),
  })),
  tools: z.array(z.unknown()).nullish(),
  functions: z.array(z.unknown()).nullish(),
});
const Preference = z.looseObject({
  input: Chat.omit({ functions: true }),
  preferred_output: Chat.shape.messages.length(1),
  non_preferred_output: Chat.shape.messages.length(1),
});

/** The conversations in a row: two for a preference row, otherwise one; none if the format is unknown. */
export function conversations(line: string): Conversation[] {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return []; // reported by the file's validation
  }
  const sides = preferences(row);
  if (sides !== null) return sides;
  const one = parsed(row);
  if (one === null) return [];
  const end = one.turns.findLastIndex(({ trainable }) => trainable) + 1;
  return [end === 0 ? one : { ...one, turns: one.turns.slice(0, end) }];
}

function preferences(row: unknown): Conversation[] | null {
  const { data } = Preference.safeParse(row);
  if (data === undefined) return null;
  const { messages, tools } = data.input;
  const differ = JSON.stringify(data.preferred_output) !== JSON.stringify(data.non_preferred_output);
  return [data.preferred_output, data.non_preferred_output].map((answer) => ({
    turns: [
      ...chatTurns(messages).map((turn) => ({ ...turn, trainable: false })),
      ...chatTurns(answer).map((turn) => ({ ...turn, trainable: differ })),
    ],
    tools: tools ?? [],
  }));
}

function chatTurns(messages: z.infer<typeof Chat>["messages"]): Turn[] {
  return messages.map(({ role, content, weight, tool_calls, function_call }) => {
    const older = Call.safeParse({ function: function_call }).data;
    const calls = tool_calls ?? (older === undefined ? [] : [older]);
    return {
      role: role === "function" ? "tool" : role,
      content: content ?? "",
      trainable: role === "assistant" && weight !== 0,
      ...(calls.length > 0 && { tool_calls: calls }),
    };
  });
}

function parsed(row: unknown): Conversation | null {
  const { data } = Chat.safeParse(row);
  if (data === undefined) return null;
  const { messages, tools, functions } = data;
  return {
    turns: chatTurns(messages),
    tools: tools ?? functions?.map((made) => ({ type: "function", function: made })) ?? [],
  };
}
