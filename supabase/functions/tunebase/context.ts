/** What every route of the API can reach. */
import type { Context } from "hono";
import type { Platform } from "../_shared/platform.ts";
import type { EventHub } from "./event_hub.ts";

/**
 * Who calls, as SQL takes it: an API key by its hash, or a user (with the project that they named). The credentials'
 * possession has been proved; what they may do is for SQL to say. `if_match` holds the versions that If-Match names; `request`
 * identifies this request, for SQL that must not carry it out twice.
 */
export type Caller = ({ key_hash: string } | { user_id: string; project_id: string | null }) & {
  if_match?: string;
  request?: { key_hash: string | null; hash: string; is_retry: boolean };
};

export interface ApiEnv {
  /** `version` is set by routes that show something which If-Match guards. */
  Variables: { platform: Platform; hub: () => Promise<EventHub>; caller: Caller; version: number };
}
export type ApiContext = Context<ApiEnv>;
