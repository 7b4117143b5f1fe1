/**
 * How many requests a key or user may send: a token bucket in Postgres, which every isolate draws on. An isolate takes
 * some requests at a time, twice as many each time it comes back within ten seconds, so that a busy caller costs one
 * round trip in hundreds. The limit itself is exact; what an isolate took and did not spend is lost, so that a caller
 * who is spread over many isolates may meet it up to a twentieth early in each.
 *
 * Headers as in draft-ietf-httpapi-ratelimit-headers-10; a 429 has `retry-after`, which the SDKs obey.
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
  /** Requests that this isolate may still let through. */
  left: number;
  granted: number;
  /** What the bucket held after them, and holds when it is full. */
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

/** Refuses with 429 who has sent too much; who is not known is refused here already. */
export function limitRate(db: Database): MiddlewareHandler<ApiEnv> {
  const shares = new Map<string, Share>();
  const asking = new Map<string, Promise<Share>>();
  const unknown = new UnknownKeys();

  /** Asks the database, unless the key is one that it has just refused. */
  async function askOf(
    name: string,
    caller: Caller,
    before: Share | undefined,
    address: string,
  ): Promise<Share> {
    if (!("key_hash" in caller)) return await ask(name, caller, before);
    if (before === undefined) unknown.check(caller.key_hash, address);
    try {
      return await ask(name, caller, before);
    } catch (error) {
      if (error instanceof ApiError && error.code === "invalid_api_key") {
        shares.delete(name);
        unknown.refused(caller.key_hash, address);
      }
      throw error;
    }
  }

  async function ask(name: string, caller: Caller, before: Share | undefined): Promise<Share> {
    const fresh = before !== undefined && Date.now() < before.until;
    const want = fresh ? Math.min(before.granted * 2, Math.max(1, Math.floor(before.limit / 20))) : 1;
    const answer = await rpc(db, "take_rate_limit_tokens", { caller, want: Math.max(1, want) }, Admitted);
    const share = {
      left: answer.granted,
      granted: answer.granted,
      inBucket: answer.left,
      limit: answer.limit,
      projectId: answer.project_id,
      // An empty bucket is not asked again before it holds a request.
      until: Date.now() + (answer.granted > 0 ? shareMs : (1 - answer.left) * 60_000 / answer.limit),
    };
    if (shares.size >= maxCallers) shares.clear();
    shares.set(name, share);
    return share;
  }

  /** The share that one request was taken from. Many that come at once wait for one question. */
  async function take(caller: Caller, address: string): Promise<Share> {
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
      const question = asking.get(name) ??
        askOf(name, caller, share, address).finally(() => asking.delete(name));
      asking.set(name, question);
      await question;
    }
  }

  return async function countRequest(c, next) {
    const address = c.req.header("x-forwarded-for")?.split(",")[0]?.trim() ?? "";
    const share = await take(c.get("caller"), address);
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

/** `r` requests are left, and in `t` seconds without any the bucket is full. */
function rateHeaders({ inBucket, left, limit }: Share): Record<string, string> {
  const remaining = Math.max(0, Math.floor(inBucket + left));
  const seconds = Math.ceil((limit - remaining) * 60 / limit);
  return {
    "ratelimit-policy": `"requests";q=${limit};w=60`,
    "ratelimit": `"requests";r=${remaining};t=${seconds}`,
  };
}
