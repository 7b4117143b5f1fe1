/** What a scenario is. */
import { assert } from "#assert";
import OpenAI from "openai";
import type { Lane } from "./harness.ts";
import type { FunctionName } from "./serve.ts";

/**
 * `doom` comes right before the request in which the function may die; what comes after is the world going on. Returns
 * what must be the same in the end, whether it died or not.
 */
export type Run = (lane: Lane, doom: () => Promise<void>) => Promise<unknown>;

export interface Scenario {
  of: FunctionName;
  run: Run;
}

/** A client's own retry may find that its first call was done. */
export async function done(call: PromiseLike<unknown>, ...statuses: number[]): Promise<void> {
  try {
    await call;
  } catch (error) {
    assert(error instanceof OpenAI.APIError && statuses.includes(Number(error.status)), String(error));
  }
}
