/** The project's jobs, filtered by status and model. */
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { jobStatuses } from "../../../../supabase/functions/_shared/contracts/statuses.ts";
import { formatDuration, formatNumber, formatUsd, humanize } from "../../lib/format.ts";
import { useModels, usePaginated, usePermission } from "../../lib/queries.ts";
import { href, navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Job } from "../../lib/types.ts";
import { Status, Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";
import { maxRuns } from "../compare/max_runs.ts";
import { GettingStarted } from "./getting_started.tsx";
import { isActive } from "./job_queries.ts";

const pollIntervalMs = 5000;

export function JobsPage({ route }: PageProps) {
  const status = jobStatuses.find((each) => each === route.query.get("status"));
  const model = route.query.get("model") ?? undefined;
  const canCreate = usePermission("jobs:write");
  const jobs = usePaginated(
    ["jobs", { status, model }],
    async (after) =>
      unwrap(
        await getServices().api.GET("/fine_tuning/jobs", {
          params: {
            query: {
              limit: 20,
              ...(after ? { after } : {}),
              ...(status ? { status } : {}),
              ...(model ? { model } : {}),
            },
          },
        }),
      ),
    { refetchInterval: pollIntervalMs },
  );
  const { data: models } = useModels();
  const filter = (change: Record<string, string>) =>
    navigate(["jobs"], {
      status: status ?? null,
      model: model ?? null,
      ...change,
    }, { replace: true });
  const isFiltered = status !== undefined || model !== undefined;
  const [selected, setSelected] = useState<string[]>([]);
  return (
    <Page
      title="Jobs"
      actions={
        <>
          {selected.length > 1 && (
            <a class="button" href={href(["compare"], { jobs: selected.join(",") })}>
              Compare {selected.length} runs
            </a>
          )}
          {canCreate && <a class="button primary" href={href(["new"])}>New fine-tune</a>}
        </>
      }
    >
      <form
        class="filters"
        role="search"
        onSubmit={(event) => event.preventDefault()}
      >
        <label>
          Status{" "}
          <select
            value={status ?? ""}
            onChange={(event) => filter({ status: event.currentTarget.value })}
          >
            <option value="">All</option>
            {jobStatuses.map((each) => <option key={each} value={each}>{humanize(each)}</option>)}
          </select>
        </label>
        <label>
          Model{" "}
          <select
            value={model ?? ""}
            onChange={(event) => filter({ model: event.currentTarget.value })}
          >
            <option value="">All</option>
            {models?.base.map(({ id }) => <option key={id} value={id}>{id}</option>)}
          </select>
        </label>
      </form>
      <QueryBoundary query={jobs} what="jobs">
        {(list) =>
          list.length === 0 ? isFiltered ? <NoMatches /> : <GettingStarted /> : (
            <>
              <Table
                label="Jobs"
                columns={[
                  "Job",
                  "Status",
                  "Progress",
                  "Loss",
                  "Cost",
                  "Created",
                  "Compare",
                ]}
              >
                {list.map((job) => (
                  <JobRow
                    key={job.id}
                    job={job}
                    isSelected={selected.includes(job.id)}
                    canSelect={selected.length < maxRuns}
                    onSelect={(isSelected) =>
                      setSelected(
                        isSelected ? [...selected, job.id] : selected.filter((id) => id !== job.id),
                      )}
                  />
                ))}
              </Table>
              <LoadMore query={jobs} />
            </>
          )}
      </QueryBoundary>
    </Page>
  );
}

const NoMatches = () => (
  <EmptyState title="No jobs match these filters">
    <a href={href(["jobs"])}>Clear filters</a>
  </EmptyState>
);

function JobRow({ job, isSelected, canSelect, onSelect }: {
  job: Job;
  isSelected: boolean;
  canSelect: boolean;
  onSelect: (isSelected: boolean) => void;
}) {
  return (
    <tr>
      <th scope="row">
        <a href={href(["jobs", job.id])}>{job.suffix ?? job.base_model}</a>
        <div class="quiet small">
          {job.suffix === null ? job.id.slice(0, 18) + "…" : job.base_model}
        </div>
      </th>
      <td>
        <Status value={job.status} />
      </td>
      <td>
        <JobRowProgress job={job} />
      </td>
      <td class="number">
        {job.training_loss === null ? "–" : formatNumber(job.training_loss)}
      </td>
      <td class="number">{formatUsd(job.cost_usd)}</td>
      <td>
        <Time at={job.created_at} />
      </td>
      <td>
        <input
          type="checkbox"
          aria-label={`Compare ${job.suffix ?? job.id}`}
          checked={isSelected}
          disabled={!isSelected && !canSelect}
          onChange={(event) => onSelect(event.currentTarget.checked)}
        />
      </td>
    </tr>
  );
}

function JobRowProgress({ job }: { job: Job }) {
  if (job.status === "failed") {
    return <span class="small">{job.error?.code}</span>;
  }
  if (!isActive(job) && job.status !== "paused") {
    return <span class="quiet">–</span>;
  }
  const timeLeft = job.status === "running" && job.estimated_finish !== null
    ? `, ${formatDuration(job.estimated_finish - Date.now() / 1000)} left`
    : "";
  return (
    <>
      <progress
        max={100}
        value={job.progress}
        aria-label={`Progress of ${job.suffix ?? job.id}`}
      />
      <div class="quiet small">{Math.floor(job.progress)}%{timeLeft}</div>
    </>
  );
}
