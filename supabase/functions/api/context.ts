/** What every route of the API can reach. */
import type { Context } from "hono";
import type { Platform } from "../_shared/platform.ts";
import type { EventHub } from "./event_hub.ts";

/**
 * Who calls, as SQL takes it: an API key by its hash, or a user (with the project that they named). The credentials'
 * possession has been proved; what they may do is for SQL to say.
 */
export type Caller = { key_hash: string } | { user_id: string; project_id: string | null };

export interface ApiEnv {
  Variables: { platform: Platform; hub: EventHub; caller: Caller };
}
export type ApiContext = Context<ApiEnv>;
