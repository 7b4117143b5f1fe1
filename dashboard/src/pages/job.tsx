/** One job: where it is, how it goes, what it costs, what came of it. Live. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { stages } from "../../../supabase/functions/_shared/contracts/statuses.ts";
import { unwrap } from "../../../client/mod.ts";
import type { PageProps } from "../app.tsx";
import { isFinal, type Job, jobKey, useChange, useMay } from "../data.ts";
import { duration, figure, range, short, usd, words } from "../format.ts";
import type { Line } from "../live.ts";
import { href } from "../router.ts";
import { use } from "../services.ts";
import { Action } from "../ui/actions.tsx";
import { Copy, Facts, Loaded, Loading, Page, Problem, Status, Time } from "../ui/basics.tsx";
import { Adapter } from "./job/adapter.tsx";
import { Charts } from "./job/charts.tsx";
import { Checkpoints } from "./job/checkpoints.tsx";
import { Failure } from "./job/failure.tsx";
import { Log } from "./job/log.tsx";
import { type Range, useJob } from "./job/use_job.ts";
import { retryQuery } from "./new/form.ts";

export function JobPage({ route }: PageProps) {
  const id = route.path[1] ?? "";
  const [part, setPart] = useState<Range | null>(null);
  const { job, line, events, points, error, again } = useJob(id, part);
  const name = job.data?.suffix ?? job.data?.base_model ?? "Job";
  return (
    <Page title={name} actions={job.data && <Moves job={job.data} />}>
      <p class="quiet small">
        <code>{id}</code> <Copy text={id} label="Copy id" />
      </p>
      <Loaded of={job} what="Loading the job">
        {(job) => (
          <>
            <Now job={job} line={line} />
            {job.status === "failed" && <Failure job={job} events={events ?? []} />}
            {job.status === "succeeded" && <Adapter job={job} />}
            {error !== null && <Problem error={error} retry={again} />}
            <section aria-labelledby="figures">
              <h2 id="figures">Figures</h2>
              {points === null
                ? error === null && <Loading what="Loading the figures" />
                : <Charts points={points} part={part} setPart={setPart} />}
            </section>
            <Checkpoints jobId={job.id} final={isFinal(job.status)} />
            <section aria-labelledby="log">
              <h2 id="log">Log</h2>
              {events === null ? error === null && <Loading /> : <Log events={events} />}
            </section>
            <Settings job={job} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

const lines: Record<Line, string> = {
  connecting: "connecting …",
  live: "live",
  waiting: "the connection broke; trying again …",
  offline: "offline; it goes on when you are back",
  ended: "",
};

function Now({ job, line }: { job: Job; line: Line }) {
  const at = job.stage === null ? -1 : stages.indexOf(job.stage);
  const step = job.current_step !== null && job.total_steps !== null
    ? `${job.current_step} of ${job.total_steps}`
    : "–";
  return (
    <section aria-label="State">
      <div class="page-head">
        <span>
          <Status of={job.status} />
          {job.pause_requested && job.status === "running" && (
            <span class="quiet">, pausing after a checkpoint …</span>
          )}
        </span>
        {!isFinal(job.status) && <span class="quiet small" role="status" data-line={line}>{lines[line]}
        </span>}
      </div>
      {job.status === "queued" && <Queue job={job} />}
      {job.status === "paused" && (
        <p class="notice">
          {job.auto_start || job.current_step !== null
            ? "It waits for you to resume it, and goes on from its newest checkpoint."
            : "It was made to wait, and begins when you start it."}
        </p>
      )}
      {(job.status === "running" || (at >= 0 && job.status === "failed")) && (
        <ol class="stages" aria-label="Stages">
          {stages.map((stage, n) => (
            <li key={stage} class={n < at ? "done" : ""} aria-current={n === at ? "step" : undefined}>
              {words(stage)}
            </li>
          ))}
        </ol>
      )}
      <progress max={100} value={job.progress} aria-label="Progress" />
      <p>
        <strong>{Math.floor(job.progress)} %</strong>
        {job.status === "running" && job.estimated_finish !== null &&
          job.estimated_finish > Date.now() / 1000 + 1 && (
          <span class="quiet">
            , about {duration(job.estimated_finish - Date.now() / 1000)} left, done at{" "}
            <Time at={job.estimated_finish} />
          </span>
        )}
      </p>
      <Facts
        of={[
          ["Cost", <Cost key="cost" job={job} />],
          ["Step", step],
          [
            "Epoch",
            job.current_epoch === null ? "–" : `${figure(job.current_epoch)} of ${job.total_epochs ?? "–"}`,
          ],
          ["Training loss", job.training_loss === null ? "–" : figure(job.training_loss)],
          ["Tokens a second", job.tokens_per_second === null ? "–" : short(job.tokens_per_second)],
          ["Tokens trained", job.trained_tokens === null ? "–" : short(job.trained_tokens)],
          ["Started", <Time key="started" at={job.started_at} />],
          ["Finished", <Time key="finished" at={job.finished_at} />],
        ]}
      />
    </section>
  );
}

function Cost({ job }: { job: Job }) {
  const most = job.spend_cap_usd;
  const estimate = readCost(job.estimate);
  return (
    <>
      {usd(job.cost_usd)}
      {most !== null && (
        <>
          <meter
            min={0}
            max={most}
            high={most * 0.8}
            value={Math.min(job.cost_usd, most)}
            aria-label="Cost against its cap"
          />
          <div class="quiet small">of {usd(most)} at most</div>
        </>
      )}
      {estimate && <div class="quiet small">estimated {range(estimate, usd)}</div>}
    </>
  );
}

function readCost(estimate: Job["estimate"]): { low: number; high: number } | null {
  const cost = estimate?.cost;
  if (typeof cost !== "object" || cost === null || !("usd" in cost)) return null;
  const { usd } = cost;
  return typeof usd === "object" && usd !== null && "low" in usd && "high" in usd
    ? { low: Number(usd.low), high: Number(usd.high) }
    : null;
}

function Queue({ job }: { job: Job }) {
  const { queue, status_reason } = job;
  const place = queue === null
    ? null
    : queue.position <= 1
    ? "It is next."
    : `It is number ${queue.position} in the queue, ${queue.position_in_project} in this project.`;
  return (
    <p class="notice" role="status">
      {status_reason ?? "It waits for a GPU."}
      {place !== null && ` ${place}`}
    </p>
  );
}

function Moves({ job }: { job: Job }) {
  const may = useMay("jobs:write");
  const move = (name: "cancel" | "pause" | "resume" | "start") =>
    useChange(
      async () =>
        unwrap(await use().api.POST(`/fine_tuning/jobs/{id}/${name}`, { params: { path: { id: job.id } } })),
      [jobKey(job.id), ["jobs"]],
    );
  const [cancel, pause, resume, start] = [move("cancel"), move("pause"), move("resume"), move("start")];
  if (!may) return null;
  const waits = job.status === "paused" && !job.auto_start && job.current_step === null;
  if (isFinal(job.status)) {
    return <a class="button" href={href(["new"], retryQuery(job, null))}>Run it again</a>;
  }
  return (
    <>
      {waits && <Action of={start} label="Start" primary />}
      {job.status === "paused" && !waits && <Action of={resume} label="Resume" primary />}
      {job.status !== "paused" &&
        (job.pause_requested
          ? <Action of={resume} label="Do not pause" />
          : <Action of={pause} label="Pause" />)}
      <Action
        of={cancel}
        label="Cancel"
        danger
        ask="Cancel this job? It ends at once; what it has cost so far is paid. Its checkpoints stay."
      />
    </>
  );
}

function Settings({ job }: { job: Job }) {
  return (
    <section aria-labelledby="settings">
      <h2 id="settings">Settings</h2>
      <Facts
        of={[
          ["Model", job.model],
          ...(job.method.type === "dpo"
            ? [["Method", "Preferences (DPO)"] as [string, ComponentChildren]]
            : []),
          [
            "Training file",
            <a key="t" href={href(["files", job.training_file])}>{job.training_file.slice(0, 14)}…</a>,
          ],
          ...(job.validation_file === null ? [] : [[
            "Validation file",
            <a key="v" href={href(["files", job.validation_file])}>{job.validation_file.slice(0, 14)}…</a>,
          ] as [string, ComponentChildren]]),
          ...Object.entries(job.hyperparameters).map(([name, value]): [string, string] => [
            words(name),
            typeof value === "number" ? figure(value) : String(value),
          ]),
          ["seed", String(job.seed)],
          ["Created", <Time key="c" at={job.created_at} />],
          ...Object.entries(job.metadata ?? {}),
        ]}
      />
    </section>
  );
}
