/**
 * Rate limits per API key or user: a token bucket in Postgres, shared by all isolates. An isolate takes several tokens at a
 * time, twice as many whenever it returns within ten seconds, so a busy caller costs one round trip per hundreds of
 * requests. The limit is never exceeded. Tokens that an isolate takes but does not use are lost, so a caller who is spread
 * over many isolates can reach it up to a twentieth early in each.
 *
 * Headers as in draft-ietf-httpapi-ratelimit-headers-10. A 429 has `retry-after`, which the SDKs honor.
 */
import type { MiddlewareHandler } from "hono";
import * as z from "zod";
import type { Database } from "../../_shared/database/connect.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { ApiError } from "../../_shared/errors.ts";
import { addHeaders, addToLog } from "../../_shared/http.ts";
import type { ApiEnv, Caller } from "../context.ts";
import { UnknownKeys } from "./unknown_keys.ts";

interface Share {
  /** Tokens left in this isolate. */
  left: number;
  granted: number;
  /** Tokens left in the bucket, and its capacity. */
  inBucket: number;
  limit: number;
  projectId: string | null;
  until: number;
}
const Admitted = z.object({
  granted: z.number(),
  left: z.number(),
  limit: z.number(),
  project_id: z.string().nullable(),
});

const shareMs = 10_000;
const maxCallers = 10_000;

/** Responds with 429 above the limit. Unknown callers are rejected here too. */
export function limitRate(db: Database): MiddlewareHandler<ApiEnv> {
  const shares = new Map<string, Share>();
  const pending = new Map<string, Promise<Share>>();
  const unknown = new UnknownKeys();

  /** Takes a share from the database, unless it has just rejected this key. */
  async function takeShareOnce(
    name: string,
    caller: Caller,
    before: Share | undefined,
    address: string,
  ): Promise<Share> {
    if (!("key_hash" in caller)) return await takeShare(name, caller, before);
    if (before === undefined) unknown.check(caller.key_hash, address);
    try {
      return await takeShare(name, caller, before);
    } catch (error) {
      if (error instanceof ApiError && error.code === "invalid_api_key") {
        shares.delete(name);
        unknown.refused(caller.key_hash, address);
      }
      throw error;
    }
  }

  async function takeShare(name: string, caller: Caller, before: Share | undefined): Promise<Share> {
    const fresh = before !== undefined && Date.now() < before.until;
    const want = fresh ? Math.min(before.granted * 2, Math.max(1, Math.floor(before.limit / 20))) : 1;
    const taken = await rpc(db, "take_rate_limit_tokens", { caller, want: Math.max(1, want) }, Admitted);
    const share = {
      left: taken.granted,
      granted: taken.granted,
      inBucket: taken.left,
      limit: taken.limit,
      projectId: taken.project_id,
      // An empty bucket is not queried again before it has a token.
      until: Date.now() + (taken.granted > 0 ? shareMs : (1 - taken.left) * 60_000 / taken.limit),
    };
    if (shares.size >= maxCallers) shares.clear();
    shares.set(name, share);
    return share;
  }

  /** Takes one token and returns its share. Concurrent requests wait for one query. */
  async function takeToken(caller: Caller, address: string): Promise<Share> {
    const name = JSON.stringify(caller);
    for (;;) {
      const share = shares.get(name);
      if (share !== undefined && Date.now() < share.until) {
        if (share.left > 0) {
          share.left -= 1;
          return share;
        }
        if (share.granted === 0) return share;
      }
      const query = pending.get(name) ??
        takeShareOnce(name, caller, share, address).finally(() => pending.delete(name));
      pending.set(name, query);
      await query;
    }
  }

  return async function limitRequests(c, next) {
    const address = c.req.header("x-forwarded-for")?.split(",")[0]?.trim() ?? "";
    const share = await takeToken(c.get("caller"), address);
    addToLog(c, { project_id: share.projectId, caller: "user_id" in c.get("caller") ? "user" : "api_key" });
    const headers = rateHeaders(share);
    if (share.granted === 0) {
      const seconds = Math.max(1, Math.ceil((share.until - Date.now()) / 1000));
      throw ApiError.of("rate_limit_exceeded", { limit: share.limit, seconds }, {
        headers: { ...headers, "retry-after": String(seconds) },
      });
    }
    await next();
    addHeaders(c, headers);
  };
}

/** `r`: remaining requests; `t`: seconds until the bucket is full. */
function rateHeaders({ inBucket, left, limit }: Share): Record<string, string> {
  const remaining = Math.max(0, Math.floor(inBucket + left));
  const seconds = Math.ceil((limit - remaining) * 60 / limit);
  return {
    "ratelimit-policy": `"requests";q=${limit};w=60`,
    "ratelimit": `"requests";r=${remaining};t=${seconds}`,
  };
}
