/** `jobs events`, `metrics` and `checkpoints`. */
import { unwrap } from "../../../client/mod.ts";
import { resolveJob } from "../../api/job_reference.ts";
import { openSession } from "../../api/session.ts";
import type { CommonOptions } from "../../command.ts";
import { formatEvent, listEvents } from "../../jobs/job_events.ts";
import { formatCount, formatTime } from "../../terminal/format.ts";
import { print, printJson, printNote, printTable } from "../../terminal/output.ts";
import { sparkline } from "../../terminal/progress_bar.ts";

export async function showEvents(
  job: string,
  options: CommonOptions & { limit: number; after?: string },
): Promise<void> {
  const session = await openSession();
  const id = await resolveJob(session, job);
  const page = await listEvents(session, id, {
    limit: options.limit,
    ...(options.after ? { after: options.after } : {}),
  });
  if (options.json) return printJson(page);
  // The API returns the newest first; a log reads from top to bottom.
  for (const event of page.data.toReversed()) print(formatEvent(event));
  if (page.has_more) printNote(`For older events, add --after ${page.last_id}`);
}

export async function showMetrics(
  job: string,
  options: CommonOptions & { points: number },
): Promise<void> {
  const session = await openSession();
  const id = await resolveJob(session, job);
  const metrics = unwrap(
    await session.api.GET("/fine_tuning/jobs/{id}/metrics", {
      params: { path: { id }, query: { points: options.points } },
    }),
  );
  if (options.json) return printJson(metrics);
  if (metrics.data.length === 0) {
    return printNote("No metrics yet. They appear once training starts.");
  }
  const fixed = (value: number | null, digits: number) => value === null ? "" : value.toFixed(digits);
  printTable([
    ["STEP", "EPOCH", "LOSS", "VALIDATION", "LEARNING RATE", "GRADIENT", "TOKENS/S", "GPU %", "GPU GB"],
    ...metrics.data.map((point) => [
      formatCount(point.step),
      point.epoch.toFixed(2),
      fixed(point.training_loss, 4),
      fixed(point.validation_loss, 4),
      point.learning_rate === null ? "" : point.learning_rate.toExponential(2),
      fixed(point.gradient_norm, 3),
      fixed(point.tokens_per_second, 0),
      fixed(point.gpu_utilization, 0),
      fixed(point.gpu_memory_gb, 1),
    ]),
  ]);
  const line = sparkline(metrics.data.flatMap(({ training_loss }) => training_loss ?? []), 60);
  if (line !== "") printNote(`loss ${line}`);
  if (metrics.total > metrics.data.length) {
    printNote(
      `Showing ${formatCount(metrics.data.length)} of ${
        formatCount(metrics.total)
      } steps. Use --points to show more.`,
    );
  }
}

export async function showCheckpoints(job: string, options: CommonOptions): Promise<void> {
  const session = await openSession();
  const id = await resolveJob(session, job);
  const page = unwrap(
    await session.api.GET("/fine_tuning/jobs/{id}/checkpoints", { params: { path: { id } } }),
  );
  if (options.json) return printJson(page);
  if (page.data.length === 0) return printNote("No checkpoints yet.");
  printTable([
    ["ID", "STEP", "LOSS", "VALIDATION", "CREATED"],
    ...page.data.map((checkpoint) => [
      checkpoint.id,
      formatCount(checkpoint.step_number),
      checkpoint.metrics.train_loss?.toFixed(4) ?? "",
      checkpoint.metrics.valid_loss?.toFixed(4) ?? "",
      formatTime(checkpoint.created_at),
    ]),
  ]);
  printNote(`To download one: tunebase adapter download ${id} --checkpoint <id>`);
}
