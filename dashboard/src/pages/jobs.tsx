/** The jobs of the project: what they are at, by state and model. */
import { jobStatuses } from "../../../supabase/functions/_shared/contracts/statuses.ts";
import { unwrap } from "../../../client/mod.ts";
import type { PageProps } from "../app.tsx";
import { isMoving, type Job, useMay, useModels, usePages } from "../data.ts";
import { duration, figure, usd, words } from "../format.ts";
import { go, href } from "../router.ts";
import { use } from "../services.ts";
import { Empty, Loaded, More, Page, Status, Table, Time } from "../ui/basics.tsx";

export function JobsPage({ route }: PageProps) {
  const status = jobStatuses.find((each) => each === route.query.get("status"));
  const model = route.query.get("model") ?? undefined;
  const may = useMay("jobs:write");
  const jobs = usePages(
    ["jobs", { status, model }],
    async (after) =>
      unwrap(
        await use().api.GET("/fine_tuning/jobs", {
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
    { refetchInterval: 5000 },
  );
  const { data: models } = useModels();
  const filter = (change: Record<string, string>) =>
    go(["jobs"], { status: status ?? null, model: model ?? null, ...change }, true);
  return (
    <Page title="Jobs" actions={may && <a class="button primary" href={href(["new"])}>New fine-tune</a>}>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <label>
          Status{" "}
          <select value={status ?? ""} onChange={(event) => filter({ status: event.currentTarget.value })}>
            <option value="">any</option>
            {jobStatuses.map((each) => <option key={each} value={each}>{words(each)}</option>)}
          </select>
        </label>
        <label>
          Model{" "}
          <select value={model ?? ""} onChange={(event) => filter({ model: event.currentTarget.value })}>
            <option value="">any</option>
            {models?.base.map(({ id }) => <option key={id} value={id}>{id}</option>)}
          </select>
        </label>
      </form>
      <Loaded of={jobs}>
        {(list) =>
          list.length === 0
            ? (
              <Empty>
                <p>{status || model ? "No job is like that." : "There is no job yet."}</p>
                {status || model
                  ? <a href={href(["jobs"])}>Show all</a>
                  : may && <a class="button primary" href={href(["new"])}>Make the first fine-tune</a>}
              </Empty>
            )
            : (
              <>
                <Table label="Jobs" head={["Job", "Status", "Progress", "Loss", "Cost", "Created"]}>
                  {list.map((job) => <Row key={job.id} job={job} />)}
                </Table>
                <More of={jobs} />
              </>
            )}
      </Loaded>
    </Page>
  );
}

function Row({ job }: { job: Job }) {
  const left = job.status === "running" && job.estimated_finish !== null
    ? `, ${duration(job.estimated_finish - Date.now() / 1000)} left`
    : "";
  return (
    <tr>
      <th scope="row">
        <a href={href(["jobs", job.id])}>{job.suffix ?? job.base_model}</a>
        <div class="quiet small">{job.suffix === null ? job.id.slice(0, 18) + "…" : job.base_model}</div>
      </th>
      <td>
        <Status of={job.status} />
      </td>
      <td>
        {isMoving(job) || job.status === "paused"
          ? (
            <>
              <progress max={100} value={job.progress} aria-label={`Progress of ${job.suffix ?? job.id}`} />
              <div class="quiet small">{Math.floor(job.progress)} %{left}</div>
            </>
          )
          : job.status === "failed"
          ? <span class="small">{job.error?.code}</span>
          : <span class="quiet">–</span>}
      </td>
      <td class="number">{job.training_loss === null ? "–" : figure(job.training_loss)}</td>
      <td class="number">{usd(job.cost_usd)}</td>
      <td>
        <Time at={job.created_at} />
      </td>
    </tr>
  );
}
