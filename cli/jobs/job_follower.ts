/** Follows a job until it finishes: events as they arrive, and progress as a bar, or as plain lines without a terminal. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { ApiError, unwrap } from "../../client/mod.ts";
import { nameCommands } from "../api/routes.ts";
import { type Session, sleep } from "../api/session.ts";
import { exitCodes, networkErrorReason, UnreachableError } from "../errors.ts";
import { formatDuration, formatUsd } from "../terminal/format.ts";
import { print, printJson, printNote } from "../terminal/output.ts";
import { renderBar } from "../terminal/progress_bar.ts";
import { withAbortOnSigint } from "../terminal/sigint.ts";
import { StatusLine } from "../terminal/status_line.ts";
import { evaluationLines } from "./evaluation_view.ts";
import { formatEvent, type Job, type JobEvent, listEvents } from "./job_events.ts";

/** The server sends a heartbeat every 15 s: a stream that is silent for this long is dead. */
const streamTimeoutMs = 45_000;
/** How often the job is polled for its progress. */
const pollIntervalMs = 2000;
/** How often progress is printed when there is no terminal. */
const logIntervalMs = 10_000;
const maxReconnectDelayMs = 15_000;
/** How many earlier messages are shown when following starts. */
const recentMessages = 20;
/** Descriptions of the stages after the last step, when the step count no longer changes. */
const finalStages: { [stage: string]: string } = {
  training: "last step done, finishing up",
  evaluating: "comparing the base and the fine-tuned model",
  saving: "saving the adapter",
  uploading: "uploading and verifying the adapter",
  completed: "checking the adapter's files",
};
/** Without a terminal, lines have no maximum width. */
const logWidth = 120;

/** Returns the exit code: 0 succeeded, 1 failed or cancelled, 130 detached with Ctrl-C (the job keeps running). */
export async function followJob(session: Session, id: string, json: boolean): Promise<number> {
  return await withAbortOnSigint(async (signal) => {
    const follower = new JobFollower(session, id, json, signal);
    try {
      return await follower.run();
    } catch (error) {
      if (!signal.aborted) throw error;
      follower.detach();
      return exitCodes.interrupted;
    }
  });
}

class JobFollower {
  readonly #status = new StatusLine();
  #job: Job | null = null;
  #losses: number[] = [];
  #tokensPerSecond: number | null = null;
  #lastEvent = 0;
  #isDone = false;
  #loggedAt = 0;
  #loggedBar = "";
  #finalStage: { stage: string; since: number } | null = null;

  constructor(
    readonly session: Session,
    readonly id: string,
    readonly json: boolean,
    readonly signal: AbortSignal,
  ) {}

  async run(): Promise<number> {
    await this.#loadHistory();
    const polling = setInterval(() => void this.#poll(), pollIntervalMs);
    try {
      for (let failures = 0; !this.#isDone; failures++) {
        const lastEvent = this.#lastEvent;
        const failure = await this.#stream();
        this.signal.throwIfAborted();
        if (this.#isDone) break;
        // The server closes streams after about a minute. That is not a failure, so reconnect without backoff.
        if (this.#lastEvent > lastEvent || failure === null) failures = 0;
        if (failure !== null) {
          this.#status.printAbove(`Connection lost (${failure}); reconnecting …`, printNote);
        }
        await sleep(Math.min(maxReconnectDelayMs, 500 * 2 ** failures), this.signal);
        this.signal.throwIfAborted();
      }
    } finally {
      clearInterval(polling);
      this.#status.show(null);
    }
    return this.#printResult(await this.#getJob());
  }

  /** Explains how to resume following or cancel the job. */
  detach(): void {
    this.#status.show(null);
    printNote(`Detached. The job keeps running.
  follow again  tunebase jobs follow ${this.id}
  cancel it     tunebase jobs cancel ${this.id}`);
  }

  async #getJob(): Promise<Job> {
    return unwrap(
      await this.session.api.GET("/fine_tuning/jobs/{id}", {
        params: { path: { id: this.id } },
        signal: this.signal,
      }),
    );
  }

  /** Shows the most recent messages, and loads the whole run's losses for the sparkline. */
  async #loadHistory(): Promise<void> {
    const { api } = this.session;
    const path = { id: this.id };
    this.#job = await this.#getJob();
    const page = await listEvents(this.session, this.id, { limit: 100 });
    const messages = page.data.filter(({ type }) => type === "message").slice(0, recentMessages);
    for (const event of messages.reverse()) this.#printEvent(event);
    this.#lastEvent = page.data[0]?.number ?? 0;
    const metrics = unwrap(
      await api.GET("/fine_tuning/jobs/{id}/metrics", { params: { path, query: { points: 200 } } }),
    );
    this.#losses = metrics.data.flatMap(({ training_loss }) => training_loss ?? []);
    this.#tokensPerSecond = this.#job.tokens_per_second ?? metrics.data.at(-1)?.tokens_per_second ?? null;
    this.#draw();
  }

  /** Reads events until the stream ends; returns the reason it failed, or null when the server closed it. */
  async #stream(): Promise<string | null> {
    const controller = new AbortController();
    const abort = () => controller.abort();
    this.signal.throwIfAborted();
    this.signal.addEventListener("abort", abort);
    let timeout = setTimeout(abort, streamTimeoutMs);
    const resetTimeout = () => {
      clearTimeout(timeout);
      timeout = setTimeout(abort, streamTimeoutMs);
    };
    try {
      const response = await this.session.fetch(
        `/fine_tuning/jobs/${encodeURIComponent(this.id)}/events`,
        {
          headers: { accept: "text/event-stream", "last-event-id": String(this.#lastEvent) },
          signal: controller.signal,
        },
      );
      if (response.status === 204) {
        this.#isDone = true;
        return null;
      }
      if (!response.ok) {
        if (response.status !== 429 && response.status < 500) {
          unwrap({ error: await response.json(), response });
        }
        await response.body?.cancel();
        return `the server responded with ${response.status}`;
      }
      for await (const { event, data, id } of parseEvents(response.body, resetTimeout)) {
        if (event === "done") {
          this.#isDone = true;
          return null;
        }
        this.#handleEvent(JSON.parse(data) as JobEvent, Number(id));
      }
      return null;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      if (this.signal.aborted) return null;
      if (controller.signal.aborted) return "no heartbeat from the server";
      return networkErrorReason(error instanceof UnreachableError ? error.cause : error);
    } finally {
      clearTimeout(timeout);
      this.signal.removeEventListener("abort", abort);
    }
  }

  #handleEvent(event: JobEvent, number: number): void {
    this.#lastEvent = number;
    if (event.type === "metrics") {
      const { training_loss, tokens_per_second, step } = event.data ?? {};
      if (typeof training_loss === "number") this.#losses.push(training_loss);
      if (typeof tokens_per_second === "number") {
        this.#tokensPerSecond = tokens_per_second;
      }
      if (this.#job !== null && typeof step === "number") {
        this.#job.current_step = Math.max(step, this.#job.current_step ?? 0);
      }
      if (this.json) printJson(event, true);
      else this.#draw();
    } else {
      this.#printEvent(event);
      void this.#poll(); // a message usually means that the job has changed
    }
  }

  #printEvent(event: JobEvent): void {
    if (this.json) printJson(event, true);
    else this.#status.printAbove(formatEvent(event));
  }

  /** Reads the job's progress. */
  async #poll(): Promise<void> {
    try {
      this.#job = await this.#getJob();
      this.#tokensPerSecond = this.#job.tokens_per_second ?? this.#tokensPerSecond;
      this.#draw();
    } catch {
      // The next poll retries, and the stream reports persistent outages.
    }
  }

  #draw(): void {
    if (this.json || this.#job === null || this.#isDone) return;
    const job = this.#job;
    const [finalStage, isNewStage] = this.#updateFinalStage(job);
    const bar = renderBar({
      status: job.status,
      stage: finalStage ?? (job.status === "running" ? job.stage : null),
      percent: job.progress,
      epoch: job.current_epoch ?? 0,
      epochs: finalStage === null ? job.total_epochs : null,
      step: job.current_step ?? 0,
      steps: finalStage === null ? job.total_steps : null,
      loss: this.#losses.at(-1) ?? job.training_loss,
      losses: this.#losses,
      tokensPerSecond: job.status === "running" && finalStage === null ? this.#tokensPerSecond : null,
      secondsLeft: job.estimated_finish === null ? null : job.estimated_finish - Date.now() / 1000,
      costUsd: job.cost_usd,
    }, this.#status.isLive ? this.#status.width : logWidth);
    if (this.#status.isLive) this.#status.show(bar);
    else if (bar !== this.#loggedBar && (isNewStage || Date.now() - this.#loggedAt >= logIntervalMs)) {
      this.#loggedAt = Date.now();
      this.#loggedBar = bar;
      print(bar);
    }
  }

  /** After the last step: the current stage, its duration, and whether it has changed. */
  #updateFinalStage({ status, stage, current_step, total_steps }: Job): [string | null, boolean] {
    const isAfterSteps = status === "running" && stage !== null && current_step !== null &&
      current_step === total_steps;
    const text = isAfterSteps ? finalStages[stage] : undefined;
    if (text === undefined) {
      this.#finalStage = null;
      return [null, false];
    }
    const isNew = this.#finalStage?.stage !== stage;
    if (isNew || this.#finalStage === null) this.#finalStage = { stage: stage ?? "", since: Date.now() };
    const seconds = (Date.now() - this.#finalStage.since) / 1000;
    return [seconds < 2 ? text : `${text}, ${formatDuration(seconds)}`, isNew];
  }

  /** Prints the job's outcome. Returns the exit code. */
  #printResult(job: Job): number {
    if (this.json) printJson(job, true);
    else if (job.status === "succeeded") this.#printSuccess(job);
    else if (job.status === "cancelled") {
      print(`The job was cancelled. Total cost: ${formatUsd(job.cost_usd)}.`);
    } else {
      printNote(nameCommands(
        [`The job failed: ${job.error?.message ?? ""}`, job.error?.hint ?? ""].join("\n").trim(),
      ));
    }
    return job.status === "succeeded" ? exitCodes.ok : exitCodes.failed;
  }

  #printSuccess(job: Job): void {
    const [first, last] = [this.#losses.at(0), this.#losses.at(-1)];
    print(
      [
        `Succeeded: ${job.fine_tuned_model}`,
        first !== undefined && last !== undefined ? `loss ${first.toFixed(3)} → ${last.toFixed(3)}` : null,
        job.running_seconds === null ? null : formatDuration(job.running_seconds),
        formatUsd(job.cost_usd),
      ].filter((part) => part !== null).join("  "),
    );
    if (job.evaluation !== null) {
      print(`Base → fine-tuned: ${evaluationLines(job.evaluation).join(", ")}`);
    }
    printNote(`Next: tunebase adapter download ${this.id}
      tunebase chat ${job.fine_tuned_model}
      tunebase open ${this.id}`);
  }
}

/** The server-sent events of a body; calls `onData` for every chunk, heartbeats included. */
function parseEvents(body: ReadableStream<Uint8Array<ArrayBuffer>> | null, onData: () => void) {
  const observed = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      onData();
      controller.enqueue(chunk);
    },
  });
  return body?.pipeThrough(observed).pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream()) ?? [];
}
