/** The shape of a crash scenario. */
import { assert } from "#assert";
import OpenAI from "openai";
import type { CrashHarness } from "./harness.ts";
import type { FunctionName } from "./serve.ts";

/**
 * Calls `arm` right before the request in which the function may crash, then continues as the real clients do. Returns a
 * result that must not depend on the crash.
 */
export type Run = (harness: CrashHarness, arm: () => Promise<void>) => Promise<unknown>;

export interface Scenario {
  of: FunctionName;
  run: Run;
}

/** Accepts the errors (`statuses`) of a retry whose first call had already succeeded. */
export async function done(call: PromiseLike<unknown>, ...statuses: number[]): Promise<void> {
  try {
    await call;
  } catch (error) {
    assert(error instanceof OpenAI.APIError && statuses.includes(Number(error.status)), String(error));
  }
}
