/** What every route of the callback can reach. */
import type { Context } from "hono";
import * as z from "zod";
import type { Platform } from "../_shared/platform.ts";
import { Order } from "../_shared/protocol.ts";

export interface CallbackEnv {
  /** `body` is the verified JSON, still to be checked against the protocol. */
  Variables: { platform: Platform; attemptId: string; body: unknown };
}
export type CallbackContext = Context<CallbackEnv>;

/** What SQL says of a worker that wants to write: its order, and the attempt's prefix in the bucket `tunebase-adapters`. */
export const Writer = z.object({ order: Order, prefix: z.string() });
