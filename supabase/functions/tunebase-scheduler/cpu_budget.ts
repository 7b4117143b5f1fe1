/**
 * How much of its isolate's CPU time one tick may use. The platform allows an isolate 2 s, then kills it with everything in
 * flight. A function cannot see how much it has used, or that it has reached the soft limit (the hosted runtime has no
 * Deno.cpuUsage, and its process.cpuUsage returns 0). So a tick counts: each kind of work has a price, measured with
 * `task bench cpu_per_request` and rounded up, and long computations are charged by the clock. A tick that has used up its
 * budget ends and wakes the next one, which may run in another isolate.
 *
 * The budget is low on purpose: ticks overlap, the isolate has served other requests before, and what every tick does
 * (spend caps, cleanup) is not charged.
 */
export const tickCpuMs = 400;
/** The maximum duration of a tick. With RunPod's timeout (20 s) added, it ends before the isolate's wall-clock limit. */
export const tickMs = 25_000;

/** Prices in milliseconds of CPU. */
export const price = {
  /** A call of claim_dispatch. */
  claim: 1.5,
  /** Submitting a job to RunPod: validation, secrets, the call, and recording its result. */
  submission: 2,
  /** A webhook or message: signing, the call, and recording its result. */
  delivery: 1,
  /** Reconciling an attempt: RunPod's status, and recording it. Recovering files costs more, but is rare. */
  reconcile: 4,
  /** An answer of an evaluation: 1.4 ms each over 800 answers, with the tests' fake engine in the same process. */
  answer: 2,
} as const;

export class CpuBudget {
  #left: number;
  readonly #until: number;

  constructor(cpuMs = tickCpuMs, ms = tickMs) {
    this.#left = cpuMs;
    this.#until = Date.now() + ms;
  }

  /** Spends CPU time. The budget can become negative, because work that has started is finished. */
  spend(cpuMs: number): void {
    this.#left -= cpuMs;
  }

  get isOver(): boolean {
    return this.#left <= 0 || Date.now() >= this.#until;
  }

  /** How many tasks of this price may still start. */
  room(cpuMs: number): number {
    return this.isOver ? 0 : Math.ceil(this.#left / cpuMs);
  }
}
