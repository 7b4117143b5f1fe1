/** What every route of the API can reach. */
import type { Context } from "hono";
import type { Platform } from "../_shared/platform.ts";
import type { EventHub } from "./event_hub.ts";

/**
 * Who calls, as SQL takes it: an API key by its hash, or a user (with the project that they named). The credentials'
 * possession has been proved; what they may do is for SQL to say. `if_match` holds the versions that If-Match names.
 */
export type Caller = ({ key_hash: string } | { user_id: string; project_id: string | null }) & {
  if_match?: string;
};

export interface ApiEnv {
  /** `version` is set by routes that show something which If-Match guards. */
  Variables: { platform: Platform; hub: () => Promise<EventHub>; caller: Caller; version: number };
}
export type ApiContext = Context<ApiEnv>;
