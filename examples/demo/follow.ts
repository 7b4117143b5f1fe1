/** Follows a job through the OpenAI SDK until it has ended: its events in order, its progress as a bar. */
import type OpenAI from "openai";
import * as z from "zod";
import { type Progress, renderBar } from "../../cli/terminal/progress_bar.ts";

/** What Tunebase's job object has beyond OpenAI's; the SDK passes it through. */
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
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().nullish() }).nullish(),
});
const Metric = z.object({
  step: z.number(),
  training_loss: z.number().nullable(),
  tokens_per_second: z.number().nullable(),
});

/** How a job ended, and the figures of its training. */
export interface Followed {
  status: string;
  error: string | null;
  steps: number;
  firstLoss: number | null;
  lastLoss: number | null;
  /** The mean over the logged steps. */
  tokensPerSecond: number | null;
}

/** Where lines and the bar go. */
export interface Screen {
  line(text: string): void;
  bar(text: string | null): void;
  width: number;
  /** A terminal redraws one line; a log gets a line now and then. */
  live: boolean;
}

/** Polls about once a second. `signal` ends it early. */
export async function follow(
  client: OpenAI,
  jobId: string,
  screen: Screen,
  signal: AbortSignal,
): Promise<Followed> {
  let last: string | null = null;
  let shownAt = 0;
  let shown = "";
  const metrics: z.infer<typeof Metric>[] = [];
  while (true) {
    signal.throwIfAborted();
    const job = Job.parse(await client.fineTuning.jobs.retrieve(jobId));
    for (const event of await newEvents(client, jobId, last)) {
      last = event.id;
      const metric = event.type === "metrics" ? Metric.safeParse(event.data) : null;
      if (metric?.success) metrics.push(metric.data);
      else screen.line(`${event.level === "info" ? "·" : "!"} ${event.message}`);
    }
    const final = ["succeeded", "failed", "cancelled"].includes(job.status);
    const bar = renderBar(progressOf(job), screen.width);
    if (screen.live) screen.bar(final ? null : bar);
    else if (bar !== shown && (final || Date.now() - shownAt > 5000)) {
      screen.line(bar);
      shownAt = Date.now();
      shown = bar;
    }
    if (final) return summary(job, metrics);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** The events after `last`, oldest first. The list is newest first, page by page. */
async function newEvents(client: OpenAI, jobId: string, last: string | null) {
  const found = [];
  for await (const event of client.fineTuning.jobs.listEvents(jobId, { limit: 50 })) {
    if (event.id === last) break;
    found.push(event);
  }
  return found.reverse();
}

function progressOf(job: z.infer<typeof Job>): Progress {
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

function summary(job: z.infer<typeof Job>, metrics: z.infer<typeof Metric>[]): Followed {
  const rates = metrics.flatMap((metric) => metric.tokens_per_second ?? []);
  return {
    status: job.status,
    error: job.error ? [job.error.message, job.error.hint].filter(Boolean).join(" ") : null,
    steps: metrics.at(-1)?.step ?? 0,
    firstLoss: metrics.at(0)?.training_loss ?? null,
    lastLoss: metrics.at(-1)?.training_loss ?? null,
    tokensPerSecond: rates.length > 0 ? rates.reduce((a, b) => a + b, 0) / rates.length : null,
  };
}
