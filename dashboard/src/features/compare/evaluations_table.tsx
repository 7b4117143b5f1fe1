/** The runs' scores in evaluations with the same file, one column per run. */
import { useQueries } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { formatCount, formatShare, pluralize } from "../../lib/format.ts";
import { usePermission } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Evaluation, Job } from "../../lib/types.ts";
import { ErrorMessage, Loading } from "../../ui/feedback.tsx";
import { Table } from "../../ui/table.tsx";
import { describeProgress } from "../evaluations/evaluation_queries.ts";
import { useDataFiles } from "../files/file_queries.ts";
import { runNames } from "./facts_table.tsx";
import { evaluatedFiles, type EvaluatedRun, evaluationWith, type ScoreRow, scoreRows } from "./run_scores.ts";

const pollIntervalMs = 5000;
const maxEvaluations = 100;
const isCounted = ({ status }: Evaluation) => status === "succeeded" || status === "running";

/** The evaluations of each run's model. */
const useEvaluatedRuns = (jobs: Job[]) =>
  useQueries({
    queries: jobs.map(({ fine_tuned_model: model }) => ({
      queryKey: ["evaluations", "compare", model],
      enabled: model !== null,
      queryFn: async () =>
        unwrap(
          await getServices().api.GET("/evaluations", {
            params: { query: { model: model ?? "", limit: maxEvaluations } },
          }),
        ).data.filter(isCounted),
      refetchInterval: ({ state }: { state: { data: Evaluation[] | undefined } }) =>
        state.data?.some(({ status }) => status === "running") ? pollIntervalMs : false as const,
    })),
  });

export function EvaluationsTable({ jobs }: { jobs: Job[] }) {
  const queries = useEvaluatedRuns(jobs);
  const files = useDataFiles();
  const [chosen, setChosen] = useState<string | null>(null);
  const error = queries.find((query) => query.error !== null)?.error ?? null;
  const isLoading = queries.some(({ data }, n) => data === undefined && jobs[n]?.fine_tuned_model !== null);
  const runs = jobs.map((job, n): EvaluatedRun => ({ job, evaluations: queries[n]?.data ?? [] }));
  const evaluated = evaluatedFiles(runs);
  const file = evaluated.find(({ file }) => file === chosen)?.file ?? evaluated[0]?.file ?? null;
  const nameOf = (id: string) =>
    files.data?.find((each) => each.id === id)?.filename ?? `a deleted file (${id})`;
  return (
    <section aria-labelledby="evaluations">
      <div class="page-head">
        <h2 id="evaluations">Evaluations</h2>
        {file !== null && (
          <label>
            File{" "}
            <select value={file} onChange={(event) => setChosen(event.currentTarget.value)}>
              {evaluated.map(({ file, runs }) => (
                <option key={file} value={file}>
                  {nameOf(file)} ({runs} of {pluralize(jobs.length, "run")})
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {error !== null ? <ErrorMessage error={error} /> : isLoading ? <Loading what="evaluations" /> : (
        <>
          <p class="quiet">
            {file === null
              ? "None of these runs has been evaluated since it ended."
              : "Evaluations of the runs' models with one file. The results above were measured as each run ended."}
          </p>
          <Table label="Evaluation scores" columns={["", ...runNames(jobs)]}>
            <tr>
              <th scope="row">Evaluation</th>
              {jobs.map((job, n) => (
                <td key={job.id}>
                  <EvaluationCell
                    job={job}
                    name={runNames(jobs)[n] ?? ""}
                    file={file}
                    evaluation={runs[n] === undefined || file === null ? null : evaluationWith(runs[n], file)}
                  />
                </td>
              ))}
            </tr>
            {file !== null && scoreRows(runs, file).map((row) => <Scores key={row.label} row={row} />)}
          </Table>
        </>
      )}
    </section>
  );
}

/** The evaluation, or a link to create one. */
function EvaluationCell(
  { job, name, file, evaluation }: {
    job: Job;
    name: string;
    file: string | null;
    evaluation: Evaluation | null;
  },
) {
  const canEvaluate = usePermission("inference");
  if (evaluation !== null) {
    const { id, rows, file_rows, status } = evaluation;
    return (
      <>
        <a href={href(["evaluations", id])}>{evaluation.name}</a>
        <div class="quiet small">
          {status === "running"
            ? `running: ${describeProgress(evaluation)}`
            : `${formatCount(rows)} of ${pluralize(file_rows, "row")}`}
        </div>
      </>
    );
  }
  if (job.fine_tuned_model === null) return <span class="quiet">No model yet</span>;
  return (
    <>
      Not evaluated
      {canEvaluate && (
        <div>
          <a
            href={href(["evaluations", "new"], {
              model: job.fine_tuned_model,
              file: file ?? job.validation_file,
            })}
          >
            Evaluate <span class="unseen">{name}</span>
          </a>
        </div>
      )}
    </>
  );
}

/** The best score is bold, if the runs differ. */
function Scores({ row: { label, values } }: { row: ScoreRow }) {
  const measured = values.flatMap(({ tuned }) => tuned ?? []);
  const best = new Set(measured).size > 1 ? Math.max(...measured) : null;
  return (
    <tr>
      <th scope="row">{label}</th>
      {values.map(({ tuned, base }, n) => (
        <td key={n}>
          {tuned !== null && tuned === best ? <strong>{formatShare(tuned)}</strong> : formatShare(tuned)}
          {base !== null && ` (base ${formatShare(base)})`}
        </td>
      ))}
    </tr>
  );
}
