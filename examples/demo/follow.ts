/** Follows a job with the OpenAI SDK until it finishes: events in order, and progress as a bar. */
import type OpenAI from "openai";
import * as z from "zod";
import { type Progress, renderBar } from "../../cli/terminal/progress_bar.ts";

const pollIntervalMs = 1000;
const logIntervalMs = 5000;

/** The fields that Tunebase adds to OpenAI's job object; the SDK passes them through. */
const Job = z.object({
  id: z.string(),
  status: z.string(),
  stage: z.string().nullish(),
  progress: z.number().default(0),
  current_epoch: z.number().default(0),
  total_epochs: z.number().nullish(),
  current_step: z.number().default(0),
  total_steps: z.number().nullish(),
  tokens_per_second: z.number().nullish(),
  training_loss: z.number().nullish(),
  estimated_finish: z.number().nullish(),
  fine_tuned_model: z.string().nullish(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().nullish() }).nullish(),
});
const Metric = z.object({
  step: z.number(),
  training_loss: z.number().nullable(),
  tokens_per_second: z.number().nullable(),
});

/** How a job ended, and its training metrics. */
export interface FollowResult {
  status: string;
  error: string | null;
  /** The fine-tuned model's name, once the job has succeeded. */
  model: string | null;
  steps: number;
  firstLoss: number | null;
  lastLoss: number | null;
  /** The mean over all logged steps. */
  tokensPerSecond: number | null;
}

/** Where output goes. */
export interface Screen {
  line(text: string): void;
  bar(text: string | null): void;
  width: number;
  /** Whether the bar can be redrawn in place; otherwise it is printed every few seconds. */
  isLive: boolean;
}

/** Polls once per second until the job finishes or the signal aborts. */
export async function follow(
  client: OpenAI,
  jobId: string,
  screen: Screen,
  signal: AbortSignal,
): Promise<FollowResult> {
  let lastEvent: string | null = null;
  let printedAt = 0;
  let printedBar = "";
  const metrics: z.infer<typeof Metric>[] = [];
  while (true) {
    signal.throwIfAborted();
    const job = Job.parse(await client.fineTuning.jobs.retrieve(jobId));
    for (const event of await listNewEvents(client, jobId, lastEvent)) {
      lastEvent = event.id;
      const metric = event.type === "metrics" ? Metric.safeParse(event.data) : null;
      if (metric?.success) metrics.push(metric.data);
      else screen.line(`${event.level === "info" ? "·" : "!"} ${event.message}`);
    }
    const isFinal = ["succeeded", "failed", "cancelled"].includes(job.status);
    const bar = renderBar(toProgress(job), screen.width);
    if (screen.isLive) screen.bar(isFinal ? null : bar);
    else if (bar !== printedBar && (isFinal || Date.now() - printedAt > logIntervalMs)) {
      screen.line(bar);
      printedAt = Date.now();
      printedBar = bar;
    }
    if (isFinal) return summarize(job, metrics);
    await new Promise((resolve) => setTimeout(resolve, pollIntervalMs));
  }
}

/** The events after `last`, oldest first. The API lists the newest first. */
async function listNewEvents(client: OpenAI, jobId: string, last: string | null) {
  const events = [];
  for await (const event of client.fineTuning.jobs.listEvents(jobId, { limit: 50 })) {
    if (event.id === last) break;
    events.push(event);
  }
  return events.reverse();
}

function toProgress(job: z.infer<typeof Job>): Progress {
  return {
    status: job.status,
    stage: job.stage ?? null,
    percent: job.progress,
    epoch: job.current_epoch,
    epochs: job.total_epochs ?? null,
    step: job.current_step,
    steps: job.total_steps ?? null,
    loss: job.training_loss ?? null,
    tokensPerSecond: job.tokens_per_second ?? null,
    secondsLeft: job.estimated_finish ? job.estimated_finish - Date.now() / 1000 : null,
  };
}

function summarize(job: z.infer<typeof Job>, metrics: z.infer<typeof Metric>[]): FollowResult {
  const rates = metrics.flatMap((metric) => metric.tokens_per_second ?? []);
  return {
    status: job.status,
    error: job.error ? [job.error.message, job.error.hint].filter(Boolean).join(" ") : null,
    model: job.fine_tuned_model ?? null,
    steps: metrics.at(-1)?.step ?? 0,
    firstLoss: metrics.at(0)?.training_loss ?? null,
    lastLoss: metrics.at(-1)?.training_loss ?? null,
    tokensPerSecond: rates.length > 0 ? rates.reduce((a, b) => a + b, 0) / rates.length : null,
  };
}
