/** The Hono context of API routes. */
import type { Context } from "hono";
import type { Platform } from "../_shared/platform.ts";
import type { EventHub } from "./event_hub.ts";

/**
 * The caller, as passed to SQL: an API key's hash, or a user (with the requested project). The caller is authenticated;
 * SQL authorizes. `if_match`: the versions in If-Match. `request` identifies the request, for idempotency in SQL.
 */
export type Caller = ({ key_hash: string } | { user_id: string; project_id: string | null }) & {
  if_match?: string;
  request?: { key_hash: string | null; hash: string; is_retry: boolean };
};

export interface ApiEnv {
  /** `version`: set by routes whose resource supports If-Match. */
  Variables: { platform: Platform; hub: () => Promise<EventHub>; caller: Caller; version: number };
}
export type ApiContext = Context<ApiEnv>;
