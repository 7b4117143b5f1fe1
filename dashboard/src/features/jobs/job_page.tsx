/** One job, live: progress, cost, charts, checkpoints, log, settings and the adapter. */
import { useState } from "preact/hooks";
import type { PageProps } from "../../lib/router.ts";
import { CopyButton } from "../../ui/display.tsx";
import { ErrorMessage, Loading, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { EvaluationsOfModel } from "../evaluations/evaluations_of_model.tsx";
import { Charts } from "./charts.tsx";
import { Checkpoints } from "./checkpoints.tsx";
import { Failure } from "./failure.tsx";
import { JobActions } from "./job_actions.tsx";
import { JobProgress } from "./job_progress.tsx";
import { isFinal } from "./job_queries.ts";
import { JobSettings } from "./job_settings.tsx";
import { Log } from "./log.tsx";
import { Result } from "./result.tsx";
import { type StepRange, useJob } from "./use_job.ts";

export function JobPage({ route }: PageProps) {
  const id = route.path[1] ?? "";
  const [range, setRange] = useState<StepRange | null>(null);
  const { job, connection, events, points, error, retry } = useJob(id, range);
  const name = job.data?.suffix ?? job.data?.base_model ?? "Job";
  return (
    <Page
      title={name}
      actions={job.data && <JobActions job={job.data} />}
    >
      <p class="quiet small">
        <code>{id}</code> <CopyButton text={id} label="Copy ID" />
      </p>
      <QueryBoundary query={job} what="the job">
        {(job) => (
          <>
            {job.status === "succeeded" && <Result job={job} />}
            {job.status === "failed" && <Failure job={job} events={events ?? []} />}
            <JobProgress job={job} connection={connection} />
            {job.fine_tuned_model !== null && <EvaluationsOfModel model={job.fine_tuned_model} />}
            {error !== null && <ErrorMessage error={error} retry={retry} />}
            <section aria-labelledby="metrics">
              <h2 id="metrics">Metrics</h2>
              {points === null ? error === null && <Loading what="metrics" /> : (
                <Charts
                  points={points}
                  plannedSteps={isFinal(job.status) ? null : job.total_steps}
                  range={range}
                  setRange={setRange}
                />
              )}
            </section>
            <Checkpoints jobId={job.id} isFinal={isFinal(job.status)} />
            <section aria-labelledby="log">
              <h2 id="log">Log</h2>
              {events === null ? error === null && <Loading what="the log" /> : <Log events={events} />}
            </section>
            <JobSettings job={job} />
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}
