/** Runs side by side: results, loss curves, and the settings that differ. */
import { useQueries } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { formatTime } from "../../lib/format.ts";
import { usePaginated } from "../../lib/queries.ts";
import { href, navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Job } from "../../lib/types.ts";
import { EmptyState, ErrorMessage, Loading } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { fetchJob, isFinal, jobKey } from "../jobs/job_queries.ts";
import { EvaluationsTable } from "./evaluations_table.tsx";
import { ResultsTable, SettingsTable } from "./facts_table.tsx";
import { LossCharts } from "./loss_charts.tsx";
import { maxRuns } from "./max_runs.ts";

const pollIntervalMs = 5000;

const readIds = (query: URLSearchParams): string[] =>
  [
    ...new Set((query.get("jobs") ?? "").split(",").filter(Boolean)),
  ].slice(0, maxRuns);
const show = (ids: string[]) => navigate(["compare"], { jobs: ids.join(",") }, { replace: true });

export function ComparePage({ route }: PageProps) {
  const ids = readIds(route.query);
  const queries = useQueries({
    queries: ids.map((id) => ({
      queryKey: jobKey(id),
      queryFn: () => fetchJob(id),
      refetchInterval: ({ state }: { state: { data: Job | undefined } }) =>
        state.data === undefined || isFinal(state.data.status) ? false as const : pollIntervalMs,
    })),
  });
  const jobs = queries.flatMap(({ data }) => data ?? []);
  const error = queries.find((query) => query.error !== null)?.error ?? null;
  return (
    <Page title="Compare runs">
      <AddRun ids={ids} />
      {error !== null && <ErrorMessage error={error} />}
      {ids.length === 0
        ? (
          <EmptyState title="Choose the runs to compare">
            <p>Add runs above, or select them in the list of jobs.</p>
            <a class="button" href={href(["jobs"])}>Go to Jobs</a>
          </EmptyState>
        )
        : jobs.length === 0
        ? error === null && <Loading what="runs" />
        : (
          <>
            <ResultsTable jobs={jobs} onRemove={(id) => show(ids.filter((other) => other !== id))} />
            <EvaluationsTable jobs={jobs} />
            <SettingsTable jobs={jobs} />
            <LossCharts jobs={jobs} />
          </>
        )}
    </Page>
  );
}

function AddRun({ ids }: { ids: string[] }) {
  const [key, setKey] = useState(0);
  const jobs = usePaginated(
    ["jobs", "recent"],
    async () =>
      unwrap(await getServices().api.GET("/fine_tuning/jobs", { params: { query: { limit: 100 } } })),
  );
  const others = jobs.data?.filter(({ id }) => !ids.includes(id)) ?? [];
  if (ids.length >= maxRuns) {
    return <p class="quiet">You can compare up to {maxRuns} runs. Remove one to add another.</p>;
  }
  return (
    <form class="filters" onSubmit={(event) => event.preventDefault()}>
      <label>
        Add a run{" "}
        <select
          key={key}
          value=""
          disabled={others.length === 0}
          onChange={(event) => {
            const id = event.currentTarget.value;
            if (id === "") return;
            setKey(key + 1); // shows the first option again
            show([...ids, id]);
          }}
        >
          <option value="">{others.length === 0 ? "No other runs" : "Choose a run"}</option>
          {others.map((job) => (
            <option key={job.id} value={job.id}>
              {job.suffix ?? job.base_model} ({job.status}, {formatTime(job.created_at)})
            </option>
          ))}
        </select>
      </label>
    </form>
  );
}
