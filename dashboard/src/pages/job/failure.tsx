/** Why a job failed, what to do, and its last lines. */
import { type Event, type Job, useMay } from "../../data.ts";
import { href } from "../../router.ts";
import { Code } from "../../ui/basics.tsx";
import { clockTime } from "../../format.ts";
import { retryQuery } from "../new/form.ts";

/** What may help, by the error: the smaller half of what takes the memory; a calmer learning rate. */
function suggestion(job: Job): { label: string; changes: Record<string, string> } | null {
  const { batch_size, max_length, learning_rate } = job.hyperparameters;
  const code = job.error?.code ?? "";
  if (code === "out_of_memory") {
    if (typeof batch_size === "number" && batch_size > 1) {
      const half = Math.floor(batch_size / 2);
      return { label: `Retry with batch_size ${half}`, changes: { batch_size: String(half) } };
    }
    if (typeof max_length === "number") {
      const half = Math.floor(max_length / 2);
      return { label: `Retry with max_length ${half}`, changes: { max_length: String(half) } };
    }
  }
  if (code === "non_finite_loss" && typeof learning_rate === "number") {
    const calmer = Math.max(1e-5, learning_rate / 2);
    return { label: `Retry with learning rate ${calmer}`, changes: { learning_rate: String(calmer) } };
  }
  return null;
}

export function Failure({ job, events }: { job: Job; events: Event[] }) {
  const may = useMay("jobs:write");
  const better = suggestion(job);
  const tail = events.slice(-15).map(({ created_at, level, message }) =>
    `${clockTime(created_at)}  ${level.padEnd(5)}  ${message}`
  );
  return (
    <section aria-labelledby="why">
      <h2 id="why">Why it failed</h2>
      <p class="problem">
        {job.error?.message ?? "No reason was given."}
        {job.error?.hint && (
          <>
            <br />
            <strong>What to do:</strong> {job.error.hint}
          </>
        )}
        <br />
        <span class="quiet small">{job.error?.code}</span>
      </p>
      {may && (
        <p class="actions">
          {better && (
            <a class="button primary" href={href(["new"], retryQuery(job, better.changes))}>{better.label}</a>
          )}
          <a class="button" href={href(["new"], retryQuery(job, null))}>Retry with other settings</a>
        </p>
      )}
      {tail.length > 0 && <Code label="The last lines of its log" text={tail.join("\n")} />}
    </section>
  );
}
