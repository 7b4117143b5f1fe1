/** What every route of the callback can reach. */
import type { Context } from "hono";
import type { Platform } from "../_shared/platform.ts";

export interface CallbackEnv {
  /** `body` is the verified JSON, still to be checked against the protocol. */
  Variables: { platform: Platform; attemptId: string; body: unknown };
}
export type CallbackContext = Context<CallbackEnv>;
