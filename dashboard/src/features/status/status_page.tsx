/** The status of the service for this project: components, queued work, models, receivers and alerts. */
import { useQuery } from "@tanstack/preact-query";
import type { ComponentChildren } from "preact";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { formatCount, formatDuration, formatFullTime, pluralize } from "../../lib/format.ts";
import { useModels } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { CodeBlock, FieldList, Status as StatusLabel, Time } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { Table } from "../../ui/table.tsx";

type Status = Schemas["Status"];
type Health = Schemas["Health"];

const pollIntervalMs = 10_000;

const useStatus = () =>
  useQuery({
    queryKey: ["status"],
    queryFn: async () => unwrap(await getServices().api.GET("/status")),
    refetchInterval: pollIntervalMs,
  });

/** A degraded service responds with 503 and names what it cannot reach. */
const useHealth = () =>
  useQuery({
    queryKey: ["health"],
    queryFn: async (): Promise<Health> => {
      const { data, error } = await getServices().api.GET("/health");
      if (data !== undefined) return data;
      if ("database" in error) return error;
      throw new Error(error.detail);
    },
    refetchInterval: pollIntervalMs,
  });

export function StatusPage() {
  const status = useStatus();
  return (
    <Page title="Status">
      <QueryBoundary query={status} what="the status">
        {(status) => (
          <>
            <Service status={status} />
            <Jobs status={status} />
            <Models />
            <Receivers receivers={status.failing_receivers} />
            <Alerts alerts={status.alerts} />
          </>
        )}
      </QueryBoundary>
      <Operators />
    </Page>
  );
}

const Section = ({ id, title, children }: { id: string; title: string; children: ComponentChildren }) => (
  <section aria-labelledby={id}>
    <h2 id={id}>{title}</h2>
    {children}
  </section>
);

function Service({ status: { scheduler, checked_at } }: { status: Status }) {
  const health = useHealth();
  const { last_tick_at } = scheduler;
  return (
    <Section id="service" title="Service">
      <FieldList
        fields={[
          ["API", <StatusLabel key="api" value="ok" />],
          ["Database", <StatusLabel key="database" value={health.data?.database ?? "checking"} />],
          ["Storage", <StatusLabel key="storage" value={health.data?.storage ?? "checking"} />],
          [
            "Scheduler",
            <div key="scheduler">
              <StatusLabel value={scheduler.status} />
              {last_tick_at !== null && (
                <div class="quiet small" title={formatFullTime(last_tick_at)}>
                  last ran {formatDuration(checked_at - last_tick_at)} ago
                </div>
              )}
            </div>,
          ],
        ]}
      />
      {scheduler.status === "late" && (
        <p class="problem">
          The scheduler has not run for{" "}
          {formatDuration(checked_at - (last_tick_at ?? checked_at))}. Jobs do not start, and webhooks are not
          delivered, until it runs again. Ask the operator of this installation to run the diagnosis below.
        </p>
      )}
    </Section>
  );
}

function Jobs({ status: { jobs, files_validating, checked_at } }: { status: Status }) {
  const { queued, running, max_running, oldest_queued: oldest } = jobs;
  return (
    <Section id="jobs" title="Jobs">
      <FieldList
        fields={[
          ["Running", `${formatCount(running)} of ${formatCount(max_running)}`],
          ["Queued", formatCount(queued)],
          [
            "Longest wait",
            oldest === null || oldest.queued_at === null
              ? "–"
              : formatDuration(checked_at - oldest.queued_at),
          ],
          ["Files in validation", formatCount(files_validating)],
        ]}
      />
      {oldest !== null && (
        <p>
          <a href={href(["jobs", oldest.id])}>Longest-waiting job</a>
          {oldest.reason === null ? " is queued." : `: ${oldest.reason}.`}
        </p>
      )}
    </Section>
  );
}

function Models() {
  const models = useModels();
  return (
    <Section id="models" title="Inference">
      <QueryBoundary query={models} what="models">
        {({ base, fineTuned }) => {
          const all = [...base, ...fineTuned];
          const others = all.filter(({ servable }) => !servable);
          return (
            <>
              <p>
                {formatCount(all.length - others.length)} of {pluralize(all.length, "model")} can be called.
                {" "}
                <a href={href(["models"])}>Show models</a>
              </p>
              {others.length > 0 && (
                <Table label="Models that cannot be called" columns={["Model", "Why it cannot be called"]}>
                  {others.map(({ id, servable_reason }) => (
                    <tr key={id}>
                      <th scope="row">{id}</th>
                      <td>{servable_reason ?? "This installation does not serve it."}</td>
                    </tr>
                  ))}
                </Table>
              )}
            </>
          );
        }}
      </QueryBoundary>
    </Section>
  );
}

const Receivers = ({ receivers }: { receivers: Status["failing_receivers"] }) => (
  <Section id="receivers" title="Webhooks and notifications">
    {receivers.length === 0
      ? <p>No webhook or notification channel is failing.</p>
      : (
        <Table label="Failing receivers" columns={["Receiver", "Status", "Since"]}>
          {receivers.map(({ id, object, name, enabled, reason, since }) => (
            <tr key={id}>
              <th scope="row">
                <a href={href(object === "webhook_endpoint" ? ["webhooks", id] : ["notifications"])}>
                  {name}
                </a>
              </th>
              <td>
                <StatusLabel
                  value={enabled ? "failed" : "disabled"}
                  label={enabled ? "failing" : "disabled"}
                />
                {reason !== null && <div class="quiet small">{reason}</div>}
              </td>
              <td>
                <Time at={since} />
              </td>
            </tr>
          ))}
        </Table>
      )}
  </Section>
);

const alertTexts: Record<Status["alerts"][number]["kind"], string> = {
  cancel_ignored_by_runpod:
    "RunPod is still running this job after it was cancelled, and may bill it. The operator can stop it in RunPod's console.",
  file_check: "This file could not be read from Storage during validation. Upload it again.",
};

const Alerts = ({ alerts }: { alerts: Status["alerts"] }) =>
  alerts.length === 0 ? null : (
    <Section id="alerts" title="Alerts">
      <ul class="plain">
        {alerts.map(({ kind, job, file, last_at }) => (
          <li class="problem" key={`${kind} ${job} ${file}`}>
            <p>{alertTexts[kind]}</p>
            <p class="small">
              {job !== null && <a href={href(["jobs", job])}>Open the job</a>}
              {file !== null && <a href={href(["files", file])}>Open the file</a>}{" "}
              <span class="quiet">
                <Time at={last_at} />
              </span>
            </p>
          </li>
        ))}
      </ul>
    </Section>
  );

const Operators = () => (
  <Section id="operators" title="For the operator">
    <p class="quiet">
      The diagnosis also checks the timer, RunPod's endpoints, secrets and migrations of the whole
      installation, and says how to fix any problem.
    </p>
    <CodeBlock label="Diagnose the installation" text="npx -y deno@2.9.6 task doctor" />
  </Section>
);
