/** `jobs list` and `jobs get`. */
import { type Schemas, unwrap } from "../../../client/mod.ts";
import type { jobStatuses } from "../../../supabase/functions/_shared/contracts/statuses.ts";
import { describeEvaluatedRows } from "../../../supabase/functions/_shared/contracts/evaluation.ts";
import { findIntegration } from "../../../supabase/functions/_shared/contracts/integrations.ts";
import { resolveJob } from "../../api/job_reference.ts";
import { nameCommands } from "../../api/routes.ts";
import { openSession } from "../../api/session.ts";
import type { CommonOptions } from "../../command.ts";
import { evaluationLines } from "../../jobs/evaluation_view.ts";
import type { Job } from "../../jobs/job_events.ts";
import { formatDuration, formatTime, formatUsd, humanize } from "../../terminal/format.ts";
import { printFields, printJson, printNote, printTable, stdoutColors } from "../../terminal/output.ts";

/** Seconds. Shorter waits are the time between the end of the run and the check of its files. */
const minShownWait = 60;

export async function listJobs(
  options: CommonOptions & {
    status?: typeof jobStatuses[number];
    model?: string;
    metadata?: Record<string, string>;
    limit: number;
    after?: string;
  },
): Promise<void> {
  const { api } = await openSession();
  const { limit, status, model, after, metadata = {} } = options;
  const byMetadata = Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [`metadata[${key}]`, value]),
  );
  const page = unwrap(
    await api.GET("/fine_tuning/jobs", {
      params: {
        query: {
          limit,
          ...(after ? { after } : {}),
          ...(status ? { status } : {}),
          ...(model ? { model } : {}),
          ...byMetadata,
        },
      },
    }),
  );
  if (options.json) return printJson(page);
  if (page.data.length === 0) {
    const isFiltered = status !== undefined || model !== undefined || options.metadata !== undefined;
    return printNote(
      isFiltered
        ? "No jobs match these filters."
        : "No jobs yet. Create one with `tunebase jobs create rows.jsonl`.",
    );
  }
  printTable([
    ["ID", "STATUS", "%", "MODEL", "LOSS", "COST", "CREATED"],
    ...page.data.map((job) => [
      job.id,
      job.status,
      String(Math.floor(job.progress)),
      job.model,
      job.training_loss === null ? "" : job.training_loss.toFixed(3),
      formatUsd(job.cost_usd),
      formatTime(job.created_at),
    ]),
  ]);
  if (page.has_more) printNote(`For more, add --after ${page.last_id}`);
}

export async function getJob(reference: string, options: CommonOptions): Promise<void> {
  const session = await openSession();
  const id = await resolveJob(session, reference);
  const job = unwrap(await session.api.GET("/fine_tuning/jobs/{id}", { params: { path: { id } } }));
  if (options.json) printJson(job);
  else printJob(job);
}

function printJob(job: Schemas["FineTuningJob"]): void {
  const cap = job.spend_cap_usd;
  printFields([
    ["id", job.id],
    ["status", [humanize(job.status), job.status_reason].filter(Boolean).join(": ")],
    ["queue position", job.queue === null ? null : String(job.queue.position_in_project)],
    ["stage", job.stage === null ? null : humanize(job.stage)],
    ["progress", describeProgress(job)],
    ["loss", job.training_loss?.toFixed(4)],
    ["base model", job.model],
    ["fine-tuned model", job.fine_tuned_model],
    ["pushed to", findIntegration(job, "huggingface")?.huggingface.url],
    ["evaluation", job.evaluation === null ? null : evaluationLines(job.evaluation).join(", ")],
    ["evaluated", job.evaluation === null ? null : describeEvaluatedRows(job.evaluation)],
    ["data", [job.training_file, job.validation_file].filter(Boolean).join(", ")],
    ["result files", job.result_files.join(", ")],
    ["settings", Object.entries(job.hyperparameters).map(([name, value]) => `${name} ${value}`).join(", ")],
    ["cost", `${formatUsd(job.cost_usd)}${cap === null ? "" : ` of ${formatUsd(cap)} spend cap`}`],
    ["created", formatTime(job.created_at)],
    ["started", job.started_at === null ? null : formatTime(job.started_at)],
    ["finished", job.finished_at === null ? null : formatTime(job.finished_at)],
    ["duration", describeDuration(job)],
    ["error", job.error === null ? null : stdoutColors.red(job.error.message)],
    ["hint", job.error?.hint && nameCommands(job.error.hint)],
  ]);
}

/** Without queues and pauses, which are named if they were long. */
function describeDuration({ running_seconds, started_at, finished_at }: Job): string | null {
  if (started_at === null || running_seconds === null) return null;
  const waited = finished_at === null ? 0 : finished_at - started_at - running_seconds;
  const running = formatDuration(running_seconds);
  return waited < minShownWait ? running : `${running}, and ${formatDuration(waited)} queued or paused`;
}

function describeProgress({ progress, current_step, total_steps }: Job): string {
  const percent = `${Math.floor(progress)}%`;
  return current_step === null
    ? percent
    : `${percent}, step ${current_step}${total_steps ? ` of ${total_steps}` : ""}`;
}
