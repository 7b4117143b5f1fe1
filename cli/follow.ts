/** Follows a job to its end: its events as they come, its progress as a bar, or as plain lines where there is no terminal. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { RefusedError, type Schemas, unwrap } from "../client/mod.ts";
import { exits, networkReason, UnreachableError } from "./errors.ts";
import { interruptible } from "./interrupt.ts";
import { eventLine, type Job, listEvents } from "./jobs.ts";
import { Bottom, note, print, printJson } from "./output.ts";
import { duration, renderBar, usd } from "./progress_bar.ts";
import { pause, type Session } from "./session.ts";

type Event = Schemas["FineTuningJobEvent"];

/** The server says something every 15 s: a line that is silent for so long is dead. */
const silentMs = 45_000;
/** How often the job itself is asked for its progress. */
const lookMs = 2000;
/** How often a log gets a line of progress. */
const lineMs = 10_000;
/** So many of its last messages are shown of a job that has gone on for long. */
const recent = 20;

/** Returns the exit code: 0 succeeded, 1 failed or cancelled, 130 detached by Ctrl-C; the job goes on then. */
export async function follow(session: Session, id: string, json: boolean): Promise<number> {
  return await interruptible(async (signal) => {
    const following = new Following(session, id, json, signal);
    try {
      return await following.run();
    } catch (error) {
      if (!signal.aborted) throw error;
      following.detach();
      return exits.detached;
    }
  });
}

class Following {
  readonly #bottom = new Bottom();
  #job: Job | null = null;
  #losses: number[] = [];
  #speed: number | null = null;
  #last = 0;
  #done = false;
  #saidAt = 0;
  #said = "";

  constructor(
    readonly session: Session,
    readonly id: string,
    readonly json: boolean,
    readonly signal: AbortSignal,
  ) {}

  async run(): Promise<number> {
    await this.#begin();
    const looking = setInterval(() => void this.#look(), lookMs);
    try {
      for (let breaks = 0; !this.#done; breaks++) {
        const before = this.#last;
        const broken = await this.#stream();
        this.signal.throwIfAborted();
        if (this.#done) break;
        // The server closes a stream after about a minute: that is no failure to back off from.
        if (this.#last > before || broken === null) breaks = 0;
        if (broken !== null) {
          this.#bottom.line(`The connection broke (${broken}); coming back.`, note);
        }
        await pause(Math.min(15_000, 500 * 2 ** breaks), this.signal);
        this.signal.throwIfAborted();
      }
    } finally {
      clearInterval(looking);
      this.#bottom.show(null);
    }
    return this.#end(await this.#get());
  }

  /** Says that the job goes on, and how to come back to it. */
  detach(): void {
    this.#bottom.show(null);
    note(`Detached; the job goes on.
  come back  tunebase jobs follow ${this.id}
  stop it    tunebase jobs cancel ${this.id}`);
  }

  async #get(): Promise<Job> {
    return unwrap(
      await this.session.api.GET("/fine_tuning/jobs/{id}", {
        params: { path: { id: this.id } },
        signal: this.signal,
      }),
    );
  }

  /** What was before: the last messages, and the whole run's losses. */
  async #begin(): Promise<void> {
    const { api } = this.session;
    const path = { id: this.id };
    this.#job = await this.#get();
    const page = await listEvents(this.session, this.id, { limit: 100 });
    const messages = page.data.filter(({ type }) => type === "message").slice(0, recent);
    for (const event of messages.reverse()) this.#show(event);
    this.#last = page.data[0]?.number ?? 0;
    const run = unwrap(
      await api.GET("/fine_tuning/jobs/{id}/metrics", { params: { path, query: { points: 200 } } }),
    );
    this.#losses = run.data.flatMap(({ training_loss }) => training_loss ?? []);
    this.#speed = this.#job.tokens_per_second ?? run.data.at(-1)?.tokens_per_second ?? null;
    this.#draw();
  }

  /** Reads events until the stream ends; returns why it broke, or null where the server closed it. */
  async #stream(): Promise<string | null> {
    const stopping = new AbortController();
    const stop = () => stopping.abort();
    this.signal.throwIfAborted();
    this.signal.addEventListener("abort", stop);
    let silence = setTimeout(stop, silentMs);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(stop, silentMs);
    };
    try {
      const response = await this.session.fetch(
        `/fine_tuning/jobs/${encodeURIComponent(this.id)}/events`,
        {
          headers: { accept: "text/event-stream", "last-event-id": String(this.#last) },
          signal: stopping.signal,
        },
      );
      if (response.status === 204) {
        this.#done = true;
        return null;
      }
      if (!response.ok) {
        if (response.status !== 429 && response.status < 500) {
          unwrap({ error: await response.json(), response });
        }
        await response.body?.cancel();
        return `the server answered ${response.status}`;
      }
      const events = response.body
        ?.pipeThrough(
          new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>(
            {
              transform(chunk, controller) {
                heard();
                controller.enqueue(chunk);
              },
            },
          ),
        )
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new EventSourceParserStream());
      for await (const { event, data, id } of events ?? []) {
        if (event === "done") {
          this.#done = true;
          return null;
        }
        this.#take(JSON.parse(data) as Event, Number(id));
      }
      return null;
    } catch (error) {
      if (error instanceof RefusedError) throw error;
      if (this.signal.aborted) return null;
      if (stopping.signal.aborted) return "it was silent";
      return error instanceof UnreachableError ? networkReason(error.cause) : networkReason(error);
    } finally {
      clearTimeout(silence);
      this.signal.removeEventListener("abort", stop);
    }
  }

  #take(event: Event, number: number): void {
    this.#last = number;
    if (event.type === "metrics") {
      const { training_loss, tokens_per_second, step } = event.data ?? {};
      if (typeof training_loss === "number") this.#losses.push(training_loss);
      if (typeof tokens_per_second === "number") {
        this.#speed = tokens_per_second;
      }
      if (this.#job !== null && typeof step === "number") {
        this.#job.current_step = Math.max(step, this.#job.current_step ?? 0);
      }
      if (this.json) printJson(event, true);
      else this.#draw();
    } else {
      this.#show(event);
      void this.#look(); // a message tells of a change
    }
  }

  #show(event: Event): void {
    if (this.json) printJson(event, true);
    else this.#bottom.line(eventLine(event));
  }

  /** Asks how far it is; what comes to no answer is asked again in a moment. */
  async #look(): Promise<void> {
    try {
      this.#job = await this.#get();
      this.#speed = this.#job.tokens_per_second ?? this.#speed;
      this.#draw();
    } catch {
      // The stream says so where it lasts.
    }
  }

  #draw(): void {
    if (this.json || this.#job === null || this.#done) return;
    const job = this.#job;
    const bar = renderBar({
      status: job.status,
      stage: job.status === "running" ? job.stage : null,
      percent: job.progress,
      epoch: job.current_epoch ?? 0,
      epochs: job.total_epochs,
      step: job.current_step ?? 0,
      steps: job.total_steps,
      loss: this.#losses.at(-1) ?? job.training_loss,
      losses: this.#losses,
      tokensPerSecond: job.status === "running" ? this.#speed : null,
      secondsLeft: job.estimated_finish === null ? null : job.estimated_finish - Date.now() / 1000,
      costUsd: job.cost_usd,
    }, this.#bottom.live ? this.#bottom.width : 120);
    if (this.#bottom.live) this.#bottom.show(bar);
    else if (bar !== this.#said && Date.now() - this.#saidAt >= lineMs) {
      this.#saidAt = Date.now();
      this.#said = bar;
      print(bar);
    }
  }

  #end(job: Job): number {
    if (this.json) printJson(job, true);
    else if (job.status === "succeeded") this.#succeeded(job);
    else if (job.status === "cancelled") {
      print(`The job was cancelled. It has cost ${usd(job.cost_usd)}.`);
    } else {note(
        [`The job failed: ${job.error?.message ?? ""}`, job.error?.hint ?? ""]
          .join("\n").trim(),
      );}
    return job.status === "succeeded" ? exits.ok : exits.failed;
  }

  #succeeded(job: Job): void {
    const [first, last] = [this.#losses.at(0), this.#losses.at(-1)];
    print(
      [
        `Succeeded: ${job.fine_tuned_model}`,
        first !== undefined && last !== undefined ? `loss ${first.toFixed(3)} → ${last.toFixed(3)}` : null,
        job.started_at !== null && job.finished_at !== null
          ? duration(job.finished_at - job.started_at)
          : null,
        usd(job.cost_usd),
      ].filter((part) => part !== null).join("  "),
    );
    note(`Next: tunebase adapter download ${this.id}`);
  }
}
