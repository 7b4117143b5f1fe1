/** One answer: its text as it arrives, tool calls to respond to, tokens and time, and what went wrong. */
import { useEffect, useState } from "preact/hooks";
import { formatCount, formatNumber, pluralize } from "../../lib/format.ts";
import { href } from "../../lib/router.ts";
import { Status } from "../../ui/display.tsx";
import { Field } from "../../ui/forms.tsx";
import { answerText, formatCall } from "./tool_calls.ts";
import { type Answer, type AnswerError, isBusy, needsResults } from "./turns.ts";

export function AnswerView({ answer, expected, onRetry, onResults }: {
  answer: Answer;
  expected: string | null;
  onRetry: () => void;
  onResults: (results: string[]) => void;
}) {
  const { state, content, toolCalls, results, finishReason, error } = answer;
  return (
    <div aria-busy={isBusy(answer) ? "true" : undefined}>
      {(state === "waiting" || state === "loading") && <Waiting answer={answer} />}
      {content !== "" && <AnswerText text={content} />}
      {state === "finished" && content === "" && toolCalls.length === 0 && (
        <p class="quiet">The answer is empty.</p>
      )}
      {toolCalls.map((call, n) => (
        <div key={n} class="tool-call">
          <p class="quiet small">Calls a tool</p>
          <code>{formatCall(call)}</code>
          {results !== null && (
            <>
              <p class="quiet small">Result</p>
              <code>{results[n]}</code>
            </>
          )}
        </div>
      ))}
      {needsResults(answer) && <ToolResults answer={answer} onResults={onResults} />}
      {finishReason === "length" && <p class="status warn">Truncated at the maximum number of tokens</p>}
      {state === "failed" && error !== null && <AnswerProblem error={error} onRetry={onRetry} />}
      {state === "stopped" && (
        <p class="quiet small">
          Stopped.{" "}
          <button type="button" class="small" onClick={onRetry}>
            Ask again
          </button>
        </p>
      )}
      {state === "finished" && expected !== null && (
        <p>
          {answerText(content, toolCalls) === expected.trim()
            ? <Status value="succeeded" label="Matches the expected answer" />
            : <Status value="differs" label="Differs from the expected answer" />}
        </p>
      )}
      <Measurements answer={answer} />
    </div>
  );
}

/** Long words, such as compact JSON, break after punctuation. */
export const AnswerText = ({ text }: { text: string }) => (
  <p class="said">
    {/\S{30}/.test(text)
      ? text.split(/(?<=[,;:/}\]])(?=\S)/).map((part, n) => n === 0 ? part : [<wbr key={n} />, part])
      : text}
  </p>
);

function Waiting({ answer: { state, startedAt } }: { answer: Answer }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const clock = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(clock);
  }, []);
  const seconds = Math.max(0, Math.round((now - startedAt) / 1000));
  return (
    <p class="quiet status busy">
      {state === "loading" ? "Loading the model on the GPU" : "Waiting for the model"} …{" "}
      {seconds > 0 && `${seconds} s`}
    </p>
  );
}

function Measurements(
  { answer: { usage, totalMs, firstTextMs } }: { answer: Answer },
) {
  if (totalMs === null) return null;
  const parts = [
    ...(usage === null ? [] : [
      `${formatCount(usage.prompt_tokens)} tokens in, ${formatCount(usage.completion_tokens)} out`,
    ]),
    seconds(totalMs),
    ...(firstTextMs === null ? [] : [`first token after ${seconds(firstTextMs)}`]),
  ];
  return <p class="quiet small measured">{parts.join(" · ")}</p>;
}

const seconds = (ms: number) => `${formatNumber(Number((ms / 1000).toFixed(ms < 10_000 ? 1 : 0)))}\u00a0s`;

function ToolResults({ answer, onResults }: {
  answer: Answer;
  onResults: (results: string[]) => void;
}) {
  const { toolCalls } = answer;
  const [results, setResults] = useState(toolCalls.map(() => ""));
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onResults(results);
      }}
    >
      {toolCalls.map(({ name }, n) => (
        <Field
          key={n}
          label={`Result of ${name}`}
          hint="Text or JSON. Without a result, your next message omits this turn."
        >
          {(control) => (
            <textarea
              {...control}
              class="json"
              rows={2}
              required
              value={results[n]}
              onInput={({ currentTarget: { value } }) =>
                setResults(
                  results.map((result, other) => other === n ? value : result),
                )}
            />
          )}
        </Field>
      ))}
      <button type="submit">
        Send {pluralize(toolCalls.length, "result")}
      </button>
    </form>
  );
}

function AnswerProblem({ error: { message, code, requestId }, onRetry }: {
  error: AnswerError;
  onRetry: () => void;
}) {
  return (
    <div class="problem" role="alert">
      <p>{message}</p>
      <Advice code={code} />
      {code !== null && (
        <p class="quiet small">
          {code}
          {requestId !== null && ` · request ${requestId}`}
        </p>
      )}
      <button type="button" onClick={onRetry}>Try again</button>
    </div>
  );
}

/** What to do, for errors whose message cannot link to it. */
function Advice({ code }: { code: string | null }) {
  switch (code) {
    case "model_not_found":
      return (
        <p>
          <a href={href(["models"])}>See the models of this project</a>
        </p>
      );
    case "spend_cap_exceeded":
      return (
        <p>
          <a href={href(["project"])}>Change the project's spend cap</a>
        </p>
      );
    case "context_length_exceeded":
      return <p>Start a new conversation, or shorten the prompt.</p>;
    default:
      return null;
  }
}
