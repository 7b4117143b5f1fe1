/** The Hono context of callback routes. */
import type { Context } from "hono";
import * as z from "zod";
import type { Platform } from "../_shared/platform.ts";
import { Directive } from "../_shared/protocol.ts";

export interface CallbackEnv {
  /** `body`: JSON with a valid signature, not yet validated against the protocol. */
  Variables: { platform: Platform; attemptId: string; body: unknown };
}
export type CallbackContext = Context<CallbackEnv>;

/** A worker's directive, and its attempt's prefix in the adapters bucket. */
export const Writer = z.object({ directive: Directive, prefix: z.string() });
