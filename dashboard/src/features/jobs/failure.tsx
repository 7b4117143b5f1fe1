/** Why a job failed, what to do about it, and the end of its log. */
import { formatClock, formatNumber } from "../../lib/format.ts";
import { usePermission } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import type { Job, JobEvent } from "../../lib/types.ts";
import { CodeBlock } from "../../ui/display.tsx";
import { retryQuery } from "../new_job/form.ts";

const logLines = 15;
const minLearningRate = 1e-6;

interface Suggestion {
  label: string;
  changes: Record<string, string>;
}

/** Changed settings that are likely to help: less memory, or a lower learning rate. */
function suggestRetry(job: Job): Suggestion | null {
  const { batch_size, max_length, learning_rate, quantization } = job.hyperparameters;
  const code = job.error?.code ?? "";
  if (code === "out_of_memory") {
    if (quantization === "none") {
      return {
        label: "Retry with the base model in NF4",
        changes: { quantization: "nf4" },
      };
    }
    if (typeof batch_size === "number" && batch_size > 1) {
      const half = Math.floor(batch_size / 2);
      return {
        label: `Retry with batch size ${half}`,
        changes: { batch_size: String(half) },
      };
    }
    if (typeof max_length === "number") {
      const half = Math.floor(max_length / 2);
      return {
        label: `Retry with max length ${half}`,
        changes: { max_length: String(half) },
      };
    }
  }
  if (code === "non_finite_loss" && typeof learning_rate === "number") {
    const lower = Math.max(minLearningRate, learning_rate / 2);
    return {
      label: `Retry with learning rate ${formatNumber(lower)}`,
      changes: { learning_rate: String(lower) },
    };
  }
  return null;
}

export function Failure({ job, events }: { job: Job; events: JobEvent[] }) {
  const canCreate = usePermission("jobs:write");
  const suggestion = suggestRetry(job);
  const logTail = events.slice(-logLines).map((
    { created_at, level, message },
  ) => `${formatClock(created_at)}  ${level.padEnd(5)}  ${message}`);
  return (
    <section aria-labelledby="why">
      <h2 id="why">Why it failed</h2>
      <p class="problem">
        {job.error?.message ?? "The job failed without an error message."}
        {job.error?.hint && (
          <>
            <br />
            <strong>What to do:</strong> {job.error.hint}
          </>
        )}
        <br />
        <span class="quiet small">{job.error?.code}</span>
      </p>
      {canCreate && (
        <p class="actions">
          {suggestion && (
            <a
              class="button primary"
              href={href(["new"], retryQuery(job, suggestion.changes))}
            >
              {suggestion.label}
            </a>
          )}
          <a class="button" href={href(["new"], retryQuery(job, null))}>
            Retry with other settings
          </a>
        </p>
      )}
      {logTail.length > 0 && <CodeBlock label="Last log lines" text={logTail.join("\n")} />}
    </section>
  );
}
