/**
 * Requests with fault injection between any two effects. An effect is a statement sent to Postgres or a fetch (RunPod,
 * Storage): a function has no other way to change anything outside its process. At each effect, a fault plan can
 *
 * - kill the caller: no promise of this request resolves from then on, and a fresh app serves the next request.
 *   "before": the effect was never sent. "after": it took place, but the response was lost. (Postgres rolls back a
 *   statement whose caller dies during it, which equals "before". `tests/e2e/kill_test.ts` kills real processes.)
 * - fail the effect while the caller lives: the connection breaks before or after the effect takes place.
 * - park the request before the effect, to resume or kill it any number of commands later: this interleaves requests at
 *   every possible point.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Message } from "./model.ts";

export type Fault = "none" | "die before" | "die after" | "fail before" | "fail after" | "park";

/** The fault to inject, and at which upcoming effect (1: the next). */
export interface FaultPlan {
  fault: Fault;
  at: number;
}
export const noFaults: FaultPlan = { fault: "none", at: 0 };

export type FaultOutcome = "done" | "killed" | "parked";

const current = new AsyncLocalStorage<SimulatedRequest>();
/** The request being served, if any. */
export const currentRequest = (): SimulatedRequest | undefined => current.getStore();

const turn = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export class SimulatedRequest {
  /** The names of its effects, for the trace. */
  readonly effects: string[] = [];
  /** An injected fault made an effect fail, so the answer may be an error. */
  faultInjected = false;
  response: Response | null = null;
  /** The callback it serves. */
  message: Message | null = null;
  #state: "running" | "done" | "killed" = "running";
  #inFlight = 0;
  #parked: (() => void)[] = [];
  #plan: FaultPlan = noFaults;
  #planStart = 0;
  #changed: () => void = () => {};
  #waiting: { name: string; start: () => void }[] = [];
  #pumping = false;
  #idle: () => void = () => {};

  /** `parallel`: several of its effects may be in flight at once. */
  constructor(readonly key: number, readonly name: string, private readonly parallel: boolean) {}

  /** Starts it; resolves when it is done, killed or parked, and none of its effects is in flight. */
  begin(plan: FaultPlan, serve: () => Promise<Response> | Response): Promise<FaultOutcome> {
    this.#setPlan(plan);
    current.run(this, async () => {
      this.response = await serve();
      if (this.#state === "running") this.#state = "done";
      this.#changed();
    });
    return this.#settle();
  }

  /** Resumes a parked request. */
  resume(plan: FaultPlan): Promise<FaultOutcome> {
    this.#setPlan(plan);
    const parked = this.#parked;
    this.#parked = [];
    for (const release of parked) release();
    return this.#settle();
  }

  /** Simulates the death of its process. */
  kill(): void {
    this.#state = "killed";
    this.#parked = [];
  }

  #setPlan(plan: FaultPlan): void {
    this.#plan = plan;
    this.#planStart = this.effects.length;
  }

  async #settle(): Promise<FaultOutcome> {
    for (;;) {
      if (this.#isStill && (this.#state !== "running" || this.#parked.length > 0)) {
        // Other branches may be about to start their next effect.
        for (let quiet = 0; this.parallel && quiet < 2 && this.#isStill; quiet++) await turn(1);
        if (this.#isStill) return this.#state === "running" ? "parked" : this.#state;
      }
      await new Promise<void>((resolve) => this.#changed = resolve);
    }
  }

  get #isStill(): boolean {
    return this.#inFlight === 0 && this.#waiting.length === 0;
  }

  /** Runs its effects one at a time, ready ones sorted by name: this makes runs reproducible. */
  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#waiting.length > 0) {
      await turn(1);
      if (this.#inFlight > 0) {
        await new Promise<void>((resolve) => this.#idle = resolve);
        continue;
      }
      this.#waiting.sort((a, b) => a.name < b.name ? -1 : +(a.name > b.name));
      this.#waiting.shift()?.start();
    }
    this.#pumping = false;
  }

  async effect<T>(name: string, perform: () => Promise<T>): Promise<T> {
    const never = new Promise<never>(() => {});
    if (this.parallel) {
      await new Promise<void>((start) => {
        this.#waiting.push({ name, start });
        void this.#pump();
      });
    }
    if (this.#state === "killed") {
      this.#changed();
      return never;
    }
    this.effects.push(name);
    const { fault, at } = this.#plan;
    const hit = fault !== "none" && this.effects.length - this.#planStart === at;
    if (hit && fault === "park") {
      await new Promise<void>((resolve) => {
        this.#parked.push(resolve);
        this.#changed();
      });
    } else if (hit && fault === "die before") {
      this.#kill();
      return never;
    } else if (hit && fault === "fail before") {
      this.faultInjected = true;
      throw new TypeError(`simulation: the connection broke before ${name}`);
    }
    this.#inFlight++;
    try {
      const result = await perform();
      if (hit && fault === "die after") this.#kill();
      if (this.isKilled) return never;
      if (hit && fault === "fail after") {
        this.faultInjected = true;
        throw new TypeError(`simulation: the connection broke after ${name}`);
      }
      return result;
    } finally {
      this.#inFlight--;
      if (this.#inFlight === 0) this.#idle();
      this.#changed();
    }
  }

  get isKilled(): boolean {
    return this.#state === "killed";
  }

  #kill(): void {
    this.#state = "killed";
    this.#changed();
  }
}
