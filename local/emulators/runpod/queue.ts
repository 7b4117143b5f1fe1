/** RunPod's queue as an in-memory state machine. RunPod's own is not durable either. Times are ms since the epoch. */

export type Status = "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT";
export interface Run {
  id: string;
  input: unknown;
  webhook: string | null;
  status: Status;
  output: unknown;
  error: string | null;
  retries: number;
  /** The worker that holds it. */
  worker: string | null;
  queuedAt: number;
  startedAt: number | null;
  endedAt: number | null;
  executionTimeout: number;
  expiresAt: number;
}

/** A run's result is kept for half an hour. */
const keptMs = 30 * 60_000;
const ended = (run: Run) => !["IN_QUEUE", "IN_PROGRESS"].includes(run.status);

export class Queue {
  readonly #runs = new Map<string, Run>();
  /** Runs to stop, by worker. */
  readonly #stops = new Map<string, string[]>();
  /** Called after a change that concerns a waiting worker or a webhook. */
  changed: (run: Run) => void = () => {};

  /** Adds a run; IN_QUEUE. */
  add(
    input: unknown,
    webhook: string | null,
    policy: { executionTimeout: number; ttl: number },
    now = Date.now(),
  ): Run {
    const run: Run = {
      id: `${crypto.randomUUID()}-u1`,
      input,
      webhook,
      status: "IN_QUEUE",
      output: null,
      error: null,
      retries: 0,
      worker: null,
      queuedAt: now,
      startedAt: null,
      endedAt: null,
      executionTimeout: policy.executionTimeout,
      expiresAt: now + policy.ttl,
    };
    this.#runs.set(run.id, run);
    this.changed(run);
    return run;
  }

  get(id: string): Run | undefined {
    return this.#runs.get(id);
  }

  get all(): Run[] {
    return [...this.#runs.values()];
  }

  get waiting(): Run[] {
    return [...this.#runs.values()].filter((run) => run.status === "IN_QUEUE");
  }

  get running(): Run[] {
    return [...this.#runs.values()].filter((run) => run.status === "IN_PROGRESS");
  }

  count(status: Status): number {
    return [...this.#runs.values()].filter((run) => run.status === status).length;
  }

  /** Assigns the oldest waiting run to a worker; IN_PROGRESS. */
  take(worker: string, now = Date.now()): Run | undefined {
    const run = this.waiting[0];
    if (run === undefined) return undefined;
    run.status = "IN_PROGRESS";
    run.worker = worker;
    run.startedAt = now;
    return run;
  }

  /** Records a worker's progress or result. A finished run does not change. */
  post(worker: string, id: string, body: Record<string, unknown>, now = Date.now()): void {
    const run = this.#runs.get(id);
    if (run === undefined || run.worker !== worker || ended(run)) return;
    run.output = body.output ?? null;
    if (body.status === "IN_PROGRESS") return;
    const failed = body.error !== undefined && body.error !== null;
    run.error = failed ? String(body.error) : null;
    this.#end(run, failed ? "FAILED" : "COMPLETED", now);
  }

  /** Asks the run's worker to stop it. */
  cancel(run: Run, now = Date.now()): void {
    if (ended(run)) return;
    this.#stop(run);
    this.#end(run, "CANCELLED", now);
  }

  /** Requeues a lost worker's run once; the second time it fails. */
  workerLost(worker: string, now = Date.now()): void {
    this.#stops.delete(worker);
    for (const run of this.running.filter((run) => run.worker === worker)) {
      if (run.retries === 0) {
        Object.assign(run, { status: "IN_QUEUE", worker: null, retries: 1, startedAt: null });
        this.changed(run);
      } else {
        run.error = `job timed out after ${run.retries} retries`;
        this.#end(run, "FAILED", now);
      }
    }
  }

  /** Requeues a FAILED or TIMED_OUT run under its id. */
  retry(run: Run, now = Date.now()): boolean {
    if (run.status !== "FAILED" && run.status !== "TIMED_OUT") return false;
    Object.assign(run, {
      status: "IN_QUEUE",
      worker: null,
      output: null,
      error: null,
      endedAt: null,
      queuedAt: now,
    });
    this.changed(run);
    return true;
  }

  /** Removes waiting runs; returns the number. */
  purge(): number {
    const waiting = this.waiting;
    for (const run of waiting) this.#runs.delete(run.id);
    return waiting.length;
  }

  /** Applies execution timeouts, and deletes runs by ttl (even while running) or age. */
  elapse(now = Date.now()): void {
    for (const run of this.#runs.values()) {
      if (
        run.status === "IN_PROGRESS" && run.startedAt !== null && now - run.startedAt > run.executionTimeout
      ) {
        this.#stop(run);
        run.error = "executionTimeout exceeded";
        this.#end(run, "TIMED_OUT", now);
      }
      const gone = ended(run) ? run.endedAt !== null && now - run.endedAt > keptMs : now > run.expiresAt;
      if (gone) {
        this.#stop(run);
        this.#runs.delete(run.id);
      }
    }
  }

  /** The runs that this worker must stop, each returned once. */
  takeStops(worker: string): string[] {
    const ids = this.#stops.get(worker) ?? [];
    this.#stops.delete(worker);
    return ids;
  }

  #stop(run: Run): void {
    if (run.status !== "IN_PROGRESS" || run.worker === null) return;
    this.#stops.set(run.worker, [...this.#stops.get(run.worker) ?? [], run.id]);
  }

  #end(run: Run, status: Status, now: number): void {
    run.status = status;
    run.endedAt = now;
    this.changed(run);
  }
}

/** A run as /status returns it. */
export function shown(run: Run, now = Date.now()): Record<string, unknown> {
  return {
    id: run.id,
    status: run.status,
    delayTime: (run.startedAt ?? now) - run.queuedAt,
    ...(run.startedAt === null ? {} : { executionTime: (run.endedAt ?? now) - run.startedAt }),
    ...(run.output === null ? {} : { output: run.output }),
    ...(run.error === null ? {} : { error: run.error }),
    ...(run.retries === 0 ? {} : { retries: run.retries }),
    ...(run.worker === null ? {} : { workerId: run.worker }),
  };
}
