/** A job's status, stage, progress and cost. */
import { stages } from "../../../../supabase/functions/_shared/contracts/statuses.ts";
import {
  formatCompact,
  formatDuration,
  formatNumber,
  formatRange,
  formatUsd,
  humanize,
} from "../../lib/format.ts";
import type { Job } from "../../lib/types.ts";
import { FieldList, Status, Time } from "../../ui/display.tsx";
import type { ConnectionState } from "./event_stream.ts";
import { isFinal } from "./job_queries.ts";

const connectionLabels: Record<ConnectionState, string> = {
  connecting: "connecting …",
  live: "live",
  reconnecting: "connection lost; reconnecting …",
  offline: "offline; updates resume when you reconnect",
  ended: "",
};

export function JobProgress(
  { job, connection }: { job: Job; connection: ConnectionState },
) {
  const stageIndex = job.stage === null ? -1 : stages.indexOf(job.stage);
  const step = job.current_step !== null && job.total_steps !== null
    ? `${job.current_step} of ${job.total_steps}`
    : "–";
  return (
    <section aria-label="Status">
      <div class="page-head">
        <span>
          <Status value={job.status} />
          {job.pause_requested && job.status === "running" && (
            <span class="quiet">, pausing after the next checkpoint …</span>
          )}
        </span>
        {!isFinal(job.status) && (
          <span class="quiet small" role="status" data-connection={connection}>
            {connectionLabels[connection]}
          </span>
        )}
      </div>
      {job.status === "queued" && <QueueNotice job={job} />}
      {job.status === "paused" && (
        <p class="notice">
          {job.auto_start || job.current_step !== null
            ? "Paused. Resume the job to continue from its latest checkpoint."
            : "Waiting for you to start it."}
        </p>
      )}
      {(job.status === "running" ||
        (stageIndex >= 0 && job.status === "failed")) && (
        <ol class="stages" aria-label="Stages">
          {stages.map((stage, n) => (
            <li
              key={stage}
              class={n < stageIndex ? "done" : ""}
              aria-current={n === stageIndex ? "step" : undefined}
            >
              {humanize(stage)}
            </li>
          ))}
        </ol>
      )}
      <progress max={100} value={job.progress} aria-label="Progress" />
      <p>
        <strong>{Math.floor(job.progress)}%</strong>
        <TimeLeft job={job} />
      </p>
      <FieldList
        fields={[
          ["Cost", <Cost key="cost" job={job} />],
          ["Step", step],
          [
            "Epoch",
            job.current_epoch === null
              ? "–"
              : `${formatNumber(job.current_epoch)} of ${job.total_epochs ?? "–"}`,
          ],
          [
            "Training loss",
            job.training_loss === null ? "–" : formatNumber(job.training_loss),
          ],
          [
            "Tokens per second",
            job.tokens_per_second === null ? "–" : formatCompact(job.tokens_per_second),
          ],
          [
            "Trained tokens",
            job.trained_tokens === null ? "–" : formatCompact(job.trained_tokens),
          ],
          ["Started", <Time key="started" at={job.started_at} />],
          ["Finished", <Time key="finished" at={job.finished_at} />],
        ]}
      />
    </section>
  );
}

function TimeLeft({ job }: { job: Job }) {
  const secondsLeft = (job.estimated_finish ?? 0) - Date.now() / 1000;
  if (
    job.status !== "running" || job.estimated_finish === null ||
    secondsLeft <= 1
  ) return null;
  return (
    <span class="quiet">
      , about {formatDuration(secondsLeft)} left, done at <Time at={job.estimated_finish} />
    </span>
  );
}

/** The meter turns to its warning color from this share of the cap. */
const capWarningShare = 0.8;

function Cost({ job }: { job: Job }) {
  const cap = job.spend_cap_usd;
  const estimate = readCostEstimate(job.estimate);
  return (
    <>
      {formatUsd(job.cost_usd)}
      {cap !== null && (
        <>
          <meter
            min={0}
            max={cap}
            high={cap * capWarningShare}
            value={Math.min(job.cost_usd, cap)}
            aria-label="Cost relative to the spend cap"
          />
          <div class="quiet small">of {formatUsd(cap)} spend cap</div>
        </>
      )}
      {estimate && (
        <div class="quiet small">
          estimated {formatRange(estimate, formatUsd)}
        </div>
      )}
    </>
  );
}

function readCostEstimate(
  estimate: Job["estimate"],
): { low: number; high: number } | null {
  const cost = estimate?.cost;
  if (typeof cost !== "object" || cost === null || !("usd" in cost)) {
    return null;
  }
  const { usd } = cost;
  return typeof usd === "object" && usd !== null && "low" in usd &&
      "high" in usd
    ? { low: Number(usd.low), high: Number(usd.high) }
    : null;
}

function QueueNotice({ job }: { job: Job }) {
  const { queue, status_reason } = job;
  const position = queue === null
    ? null
    : queue.position <= 1
    ? "It is next in the queue."
    : `Position ${queue.position} in the queue, ${queue.position_in_project} in this project.`;
  return (
    <p class="notice" role="status">
      {status_reason ??
        "Waiting for a GPU. You are not charged while a job is queued."}
      {position !== null && ` ${position}`}
    </p>
  );
}
