/**
 * `Idempotency-Key` on any POST: the same key and request within a day get the first one's answer, another request with
 * that key 409. One table, `tunebase_internal.idempotency_keys`, in two ways.
 *
 * What must not happen twice is recorded by the route's SQL, in the transaction that creates it: a crash at any point
 * leaves both or neither. These routes also recognize an SDK's retry without a key, by a hash of the request.
 *
 * For any other route, a key is reserved before it runs and stored with the answer if it succeeded. An isolate that dies
 * between the route's commit and that leaves a reservation that expires; the request then runs again.
 */
import type { Context, MiddlewareHandler } from "hono";
import * as z from "zod";
import type { Scope } from "../../_shared/contracts/scopes.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { ApiError } from "../../_shared/errors.ts";
import { describeError } from "../../_shared/log.ts";
import { decrypt, encrypt, sha256Hex } from "../../_shared/secrets.ts";
import { BodyHash } from "./body_hash.ts";
import type { ApiEnv } from "../context.ts";
import { parseId } from "../ids.ts";

/** Longer than a request may take: a form streams as long as the platform lets it. */
const leaseSeconds = { whole: 60, streamed: 450 };
const maxAnswerChars = 50_000;

const Reserved = z.discriminatedUnion("state", [
  z.object({ state: z.literal("new"), id: z.string() }),
  z.object({ state: z.literal("running") }),
  z.object({ state: z.literal("done"), request_hash: z.string(), answer: z.string() }),
]);
const Answer = z.object({ status: z.number(), type: z.string(), body: z.string() });

/** For a POST whose SQL records the request with what it creates (`find_created_resource`). */
export const recorded: MiddlewareHandler<ApiEnv> = async function recorded(c, next) {
  const key = keyOf(c);
  const request = {
    key_hash: key === undefined ? null : await sha256Hex(key),
    hash: await hashWhole(c, hashOf(c)),
    is_retry: Number(c.req.header("x-stainless-retry-count") ?? 0) >= 1,
  };
  c.set("caller", { ...c.get("caller"), request });
  await next();
};

/** For any other POST, that needs `scope`: an answer is given again only to who could still get it by asking again. */
export const idempotent = (scope: Scope | null): MiddlewareHandler<ApiEnv> =>
  async function idempotent(c, next) {
    const key = keyOf(c);
    if (key === undefined) return await next();
    const { db, settings, log } = c.get("platform");
    const hash = hashOf(c);
    // A form's boundary is random and its file large: it is hashed as the route reads it. Anything else is small.
    const requestHash = hash.isForm ? null : await hashWhole(c, hash);
    const reserved = await rpc(db, "reserve_idempotency_key", {
      caller: callerAt(c),
      key_hash: await sha256Hex(key),
      request_hash: requestHash,
      lease_seconds: hash.isForm ? leaseSeconds.streamed : leaseSeconds.whole,
      scope,
    }, Reserved);
    if (reserved.state === "running") {
      throw ApiError.of("idempotency_key_in_use", {}, { headers: { "retry-after": "1" } });
    }
    const purpose = `idempotency/${key}`;
    if (reserved.state === "done") {
      if (requestHash === null) { for await (const chunk of c.req.raw.body ?? []) hash.update(chunk); }
      if ((requestHash ?? hash.digest()) !== reserved.request_hash) {
        throw ApiError.of("idempotency_key_reused");
      }
      const { status, type, body } = Answer.parse(
        JSON.parse(await decrypt(settings.masterKey, purpose, reserved.answer)),
      );
      return new Response(body, {
        status,
        headers: { "content-type": type, "idempotent-replayed": "true", "cache-control": "no-store" },
      });
    }

    let kept: [hash: string, answer: string] | null = null;
    try {
      if (hash.isForm) hashAsItStreams(c, hash);
      await next();
      kept = await answerOf(c, requestHash ?? hash.digest(), settings.masterKey, purpose);
    } finally {
      // Without an answer the key is free again: what failed may be put right and sent anew.
      await rpc(db, "complete_idempotency_key", {
        id: reserved.id,
        request_hash: kept?.[0] ?? null,
        answer: kept?.[1] ?? null,
      }).catch((error) =>
        log({ level: "error", msg: "an idempotency key stays reserved", error: describeError(error) })
      );
    }
  };

function keyOf(c: Context<ApiEnv>): string | undefined {
  const key = c.req.header("idempotency-key");
  if (key !== undefined && (key.length < 1 || key.length > 255)) {
    throw new ApiError("invalid_request", [{
      param: "idempotency-key",
      message: `idempotency-key: has ${key.length} characters; it must have 1 to 255.`,
    }]);
  }
  return key;
}

/** What makes two requests the same; the body is still to be added. */
function hashOf(c: Context<ApiEnv>): BodyHash {
  return new BodyHash(c.req.header("content-type") ?? "", [
    c.req.path,
    new URL(c.req.url).search,
    c.req.header("openai-project") ?? "",
  ]);
}

/** The caller, with the project that the path names where it names one. */
function callerAt(c: Context<ApiEnv>) {
  const caller = c.get("caller");
  const named = /^\/tunebase\/projects\/([^/]+)/.exec(c.req.path)?.[1];
  const project_id = named === undefined ? null : parseId("project", named);
  return "user_id" in caller && project_id !== null ? { ...caller, project_id } : caller;
}

async function answerOf(
  c: Context<ApiEnv>,
  requestHash: string,
  masterKey: string,
  purpose: string,
): Promise<[string, string] | null> {
  const type = c.res.headers.get("content-type") ?? "";
  if (!c.res.ok || !type.startsWith("application/json")) return null;
  const answered = c.res;
  const body = await answered.text();
  c.res = undefined;
  c.res = new Response(body, { status: answered.status, headers: answered.headers });
  if (body.length > maxAnswerChars) return null;
  const answer = JSON.stringify({ status: answered.status, type, body } satisfies z.infer<typeof Answer>);
  return [requestHash, await encrypt(masterKey, purpose, answer)];
}

async function hashWhole(c: Context<ApiEnv>, hash: BodyHash): Promise<string> {
  const body = await c.req.raw.arrayBuffer();
  hash.update(new Uint8Array(body));
  c.req.raw = new Request(c.req.raw, { body });
  return hash.digest();
}

function hashAsItStreams(c: Context<ApiEnv>, hash: BodyHash): void {
  const body = c.req.raw.body?.pipeThrough(
    new TransformStream({
      transform(chunk: Uint8Array, out) {
        hash.update(chunk);
        out.enqueue(chunk);
      },
    }),
  );
  // A body that streams needs `duplex`, which Deno's types do not have.
  c.req.raw = new Request(c.req.raw, { body, duplex: "half" } as RequestInit);
}
