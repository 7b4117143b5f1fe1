/**
 * Requests that a walk can stop between any two effects. An effect is a statement sent to Postgres or a fetch (RunPod,
 * Storage): the only ways in which a function changes the world. Before and after each of them the walk may
 *
 * - let the caller die: from then on no promise of this request ever resolves, and nothing that it would have done
 *   happens; the next request is served by a fresh app. "before": the effect never left. "after": it was carried out,
 *   nobody read the answer. (A kill in the midst of a statement is rolled back by Postgres: the same as "before". The
 *   crash tests end real processes and connections.)
 * - let the effect fail for a caller that lives on: a connection cut before it was carried out, or after.
 * - park the request before the effect, and let it go on, or die, any number of steps later: so two requests are
 *   interleaved at every place where they can be.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Message } from "./model.ts";

export type Fault = "none" | "die before" | "die after" | "fail before" | "fail after" | "park";

/** What goes wrong, and at which of the effects to come (1: the next). */
export interface Plan {
  fault: Fault;
  at: number;
}
export const smooth: Plan = { fault: "none", at: 0 };

export type Landing = "done" | "dead" | "parked";

const current = new AsyncLocalStorage<Flight>();
/** The request that is being served, if any. */
export const currentFlight = (): Flight | undefined => current.getStore();

const turn = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export class Flight {
  /** The names of its effects, for the story that a failure tells. */
  readonly effects: string[] = [];
  /** Whether an effect failed by plan: then the answer may be an error. */
  disturbed = false;
  response: Response | null = null;
  /** The callback that it serves. */
  message: Message | null = null;
  #state: "flying" | "done" | "dead" = "flying";
  #under = 0;
  #parked: (() => void)[] = [];
  #plan: Plan = smooth;
  #from = 0;
  #changed: () => void = () => {};
  #waiting: { name: string; start: () => void }[] = [];
  #pumping = false;
  #idle: () => void = () => {};

  /** `parallel`: it may have several effects under way at once. */
  constructor(readonly key: number, readonly name: string, private readonly parallel: boolean) {}

  /** Starts it; resolves when it is done, dead or parked, and nothing of it is under way. */
  begin(plan: Plan, serve: () => Promise<Response> | Response): Promise<Landing> {
    this.#aim(plan);
    current.run(this, async () => {
      this.response = await serve();
      if (this.#state === "flying") this.#state = "done";
      this.#changed();
    });
    return this.#land();
  }

  /** Lets a parked one go on. */
  goOn(plan: Plan): Promise<Landing> {
    this.#aim(plan);
    const parked = this.#parked;
    this.#parked = [];
    for (const release of parked) release();
    return this.#land();
  }

  /** Its process is gone. */
  kill(): void {
    this.#state = "dead";
    this.#parked = [];
  }

  #aim(plan: Plan): void {
    this.#plan = plan;
    this.#from = this.effects.length;
  }

  async #land(): Promise<Landing> {
    for (;;) {
      if (this.#isStill && (this.#state !== "flying" || this.#parked.length > 0)) {
        // Other branches may only just be on their way to their next effect.
        for (let quiet = 0; this.parallel && quiet < 2 && this.#isStill; quiet++) await turn(1);
        if (this.#isStill) return this.#state === "flying" ? "parked" : this.#state;
      }
      await new Promise<void>((resolve) => this.#changed = resolve);
    }
  }

  get #isStill(): boolean {
    return this.#under === 0 && this.#waiting.length === 0;
  }

  /** Its effects one at a time, those that are ready by their names: so a walk can be had again. */
  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#waiting.length > 0) {
      await turn(1);
      if (this.#under > 0) {
        await new Promise<void>((resolve) => this.#idle = resolve);
        continue;
      }
      this.#waiting.sort((a, b) => a.name < b.name ? -1 : +(a.name > b.name));
      this.#waiting.shift()?.start();
    }
    this.#pumping = false;
  }

  async effect<T>(name: string, carryOut: () => Promise<T>): Promise<T> {
    const never = new Promise<never>(() => {});
    if (this.parallel) {
      await new Promise<void>((start) => {
        this.#waiting.push({ name, start });
        void this.#pump();
      });
    }
    if (this.#state === "dead") {
      this.#changed();
      return never;
    }
    this.effects.push(name);
    const { fault, at } = this.#plan;
    const struck = fault !== "none" && this.effects.length - this.#from === at;
    if (struck && fault === "park") {
      await new Promise<void>((resolve) => {
        this.#parked.push(resolve);
        this.#changed();
      });
    } else if (struck && fault === "die before") {
      this.#die();
      return never;
    } else if (struck && fault === "fail before") {
      this.disturbed = true;
      throw new TypeError(`chaos: the connection broke before ${name}`);
    }
    this.#under++;
    try {
      const result = await carryOut();
      if (struck && fault === "die after") this.#die();
      if (this.isDead) return never;
      if (struck && fault === "fail after") {
        this.disturbed = true;
        throw new TypeError(`chaos: the connection broke after ${name}`);
      }
      return result;
    } finally {
      this.#under--;
      if (this.#under === 0) this.#idle();
      this.#changed();
    }
  }

  get isDead(): boolean {
    return this.#state === "dead";
  }

  #die(): void {
    this.#state = "dead";
    this.#changed();
  }
}
