/** An evaluation's rows: the question, the expected answer, and each model's answer next to it. */
import { useEffect, useState } from "preact/hooks";
import { graderName } from "../../../../supabase/functions/_shared/contracts/evaluation.ts";
import { formatCount, pluralize } from "../../lib/format.ts";
import type { Evaluation, EvaluationRow } from "../../lib/types.ts";
import { Status } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { LoadMore } from "../../ui/table.tsx";
import { toMessages } from "../playground/rows.ts";
import { MessageList } from "../playground/turn_view.tsx";
import { findDifferences } from "./differences.ts";
import { useEvaluationRows } from "./evaluation_queries.ts";
import { filterNames, type RowFilter, rowFilters } from "./row_filters.ts";

export function Rows({ evaluation }: { evaluation: Evaluation }) {
  const [filter, setFilter] = useState<RowFilter>("all");
  const rows = useEvaluationRows(evaluation);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = rows;
  // Filtering loads all rows, of which there are at most a thousand.
  useEffect(() => {
    if (filter !== "all" && hasNextPage && !isFetchingNextPage) {
      void fetchNextPage();
    }
  }, [filter, hasNextPage, isFetchingNextPage]);
  const choices = filterNames.filter((name) => !rowFilters[name].needsTwo || evaluation.models.length > 1);
  return (
    <section aria-labelledby="rows">
      <div class="page-head">
        <h2 id="rows">Rows</h2>
        <label>
          <span class="unseen">Show</span>
          <select
            value={filter}
            onChange={(event) =>
              setFilter(
                choices.find((name) => name === event.currentTarget.value) ??
                  "all",
              )}
          >
            {choices.map((name) => <option key={name} value={name}>{rowFilters[name].label}</option>)}
          </select>
        </label>
      </div>
      <QueryBoundary query={rows} what="rows">
        {(loaded) => {
          const shown = loaded.filter(rowFilters[filter].matches);
          const isComplete = !rows.hasNextPage;
          return (
            <>
              <p class="quiet small" role="status">
                {filter === "all"
                  ? `${formatCount(loaded.length)} of ${pluralize(evaluation.rows, "row")}.`
                  : isComplete
                  ? `${formatCount(shown.length)} of ${pluralize(loaded.length, "row")}.`
                  : "Searching all rows …"} Highlighted words are not in the expected answer.
              </p>
              <ol class="plain evaluated" aria-label="Rows">
                {shown.map((row) => <Row key={row.id} row={row} evaluation={evaluation} />)}
              </ol>
              {filter === "all" && <LoadMore query={rows} />}
            </>
          );
        }}
      </QueryBoundary>
    </section>
  );
}

function Row(
  { row, evaluation }: { row: EvaluationRow; evaluation: Evaluation },
) {
  const messages = toMessages(row.messages);
  const [question] = messages.slice(-1);
  return (
    <li class="turn" aria-label={`Line ${row.line}`}>
      <p class="quiet small">Line {formatCount(row.line)}</p>
      {question !== undefined && <MessageList messages={[question]} />}
      {(messages.length > 1 || row.tools !== null) && (
        <details>
          <summary class="small">Full prompt</summary>
          <MessageList messages={messages} />
          {row.tools !== null && <pre class="wrap">{JSON.stringify(row.tools, null, 2)}</pre>}
        </details>
      )}
      <div class="answers">
        <div class="answer expected">
          <h3>Expected answer</h3>
          <p class="said">{row.expected}</p>
        </div>
        {row.answers.map((answer) => (
          <div class="answer" key={answer.model}>
            <h3>
              <AnswerResult answer={answer} />
              <span class="quiet small">{answer.model}</span>
            </h3>
            {answer.answer === null
              ? (
                <p class={answer.error === null ? "quiet" : "field-error"}>
                  {answer.error ?? "Not answered yet."}
                </p>
              )
              : <MarkedText expected={row.expected} answer={answer.answer} />}
            {answer.graders !== null && evaluation.graders.length > 0 && (
              <ul class="plain small">
                {evaluation.graders.map((grader, n) => (
                  <li key={n}>
                    <Status
                      value={answer.graders?.[n] ? "succeeded" : "failed"}
                      label={`${graderName(grader)}: ${answer.graders?.[n] ? "yes" : "no"}`}
                    />
                  </li>
                ))}
              </ul>
            )}
          </div>
        ))}
      </div>
    </li>
  );
}

function AnswerResult(
  { answer }: { answer: EvaluationRow["answers"][number] },
) {
  const { exact_match, valid_json, fields_correct, fields_expected, error } = answer;
  if (answer.answer === null) {
    return error === null
      ? <Status value="pending" label="Waiting" />
      : <Status value="failed" label="Could not answer" />;
  }
  if (exact_match) return <Status value="succeeded" label="Exact match" />;
  if (valid_json === false) {
    return <Status value="failed" label="Invalid JSON" />;
  }
  return fields_expected !== null && fields_expected > 0
    ? (
      <Status
        value="warn"
        label={`${fields_correct ?? 0} of ${pluralize(fields_expected, "field")} correct`}
      />
    )
    : <Status value="warn" label="Different answer" />;
}

const MarkedText = (
  { expected, answer }: { expected: string; answer: string },
) => (
  <p class="said">
    {answer === "" ? <span class="quiet">Empty answer</span> : findDifferences(expected, answer).map(
      ({ text, differs }, n) => differs ? <mark key={n}>{text}</mark> : text,
    )}
  </p>
);
