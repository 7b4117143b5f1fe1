/**
 * What one tick may spend of its isolate's CPU. The platform gives an isolate 2 s before it kills it with everything in
 * flight, and tells a function neither how much it has used nor that its soft limit is reached (Deno.cpuUsage is not in
 * the hosted runtime, and process.cpuUsage answers 0 there). So a tick counts: each kind of work has a price, measured
 * with `task bench cpu_per_request` and rounded up, and what computes in one piece is charged by the clock. A tick that
 * has spent its budget ends, and wakes the next, which may meet another isolate.
 *
 * The budget leaves room on purpose: ticks overlap (timer, nudges), an isolate has served other requests before, and what
 * every tick does (caps, sweeping) is not charged.
 */
export const tickCpuMs = 400;
/** How long a tick works by the clock. With RunPod's time-out (20 s) it ends before an isolate's wall clock does. */
export const tickMs = 25_000;

/** Prices in milliseconds of CPU. */
export const price = {
  /** A call of claim_dispatch with its answer. */
  claim: 1.5,
  /** A job sent to RunPod: checks, signatures, the call, and recording its answer. */
  submission: 2,
  /** A webhook or message: signing, the call, and its share of recording. */
  delivery: 1,
  /** A look at an attempt: RunPod's status and its recording; a found manifest costs more, and is rare. */
  look: 4,
} as const;

export class CpuBudget {
  #left: number;
  readonly #until: number;

  constructor(cpuMs = tickCpuMs, ms = tickMs) {
    this.#left = cpuMs;
    this.#until = Date.now() + ms;
  }

  /** Spends so many milliseconds. It may go below nothing: what has begun is finished. */
  spend(cpuMs: number): void {
    this.#left -= cpuMs;
  }

  get isOver(): boolean {
    return this.#left <= 0 || Date.now() >= this.#until;
  }

  /** How many of such a price may still begin. */
  room(cpuMs: number): number {
    return this.isOver ? 0 : Math.ceil(this.#left / cpuMs);
  }
}
