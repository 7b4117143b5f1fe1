/**
 * `Idempotency-Key` on any POST: repeating a request with the same key within a day returns the first response; a different
 * request with the same key gets 409. The table `tunebase_internal.idempotency_keys` has two kinds of entries.
 *
 * Requests that must not happen twice are recorded by the route's SQL, in the transaction that creates the resource, so a
 * crash leaves both or neither. These routes also recognize an SDK's retry without a key, by a hash of the request.
 *
 * For all other routes, the key is reserved before the request runs, and the response is stored if it succeeded. If an
 * isolate dies in between, the reservation expires and the request runs again.
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

/** Longer than a request can take; a form can stream until the platform's time limit. */
const leaseSeconds = { buffered: 60, streamed: 450 };
const maxResponseChars = 50_000;

const Reserved = z.discriminatedUnion("state", [
  z.object({ state: z.literal("new"), id: z.string() }),
  z.object({ state: z.literal("running") }),
  z.object({ state: z.literal("done"), request_hash: z.string(), answer: z.string() }),
]);
const bytes = new TextEncoder();
const StoredResponse = z.object({ status: z.number(), type: z.string(), body: z.string() });

/** For a POST whose SQL records the request (`find_created_resource`). */
export const recorded: MiddlewareHandler<ApiEnv> = async function recorded(c, next) {
  const key = keyOf(c);
  const request = {
    key_hash: key === undefined ? null : sha256Hex(key),
    hash: await hashBody(c, hashOf(c)),
    is_retry: Number(c.req.header("x-stainless-retry-count") ?? 0) >= 1,
  };
  c.set("caller", { ...c.get("caller"), request });
  await next();
};

/** For any other POST. `scope`: required to replay a stored response. */
export const idempotent = (scope: Scope | null): MiddlewareHandler<ApiEnv> =>
  async function idempotent(c, next) {
    const key = keyOf(c);
    if (key === undefined) return await next();
    const { db, settings, log } = c.get("platform");
    const hash = hashOf(c);
    // Forms can be large, so they are hashed while the route reads them.
    const requestHash = hash.isForm ? null : await hashBody(c, hash);
    const reserved = await rpc(db, "reserve_idempotency_key", {
      caller: callerAt(c),
      key_hash: sha256Hex(key),
      request_hash: requestHash,
      lease_seconds: hash.isForm ? leaseSeconds.streamed : leaseSeconds.buffered,
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
      const { status, type, body } = StoredResponse.parse(
        JSON.parse(await decrypt(settings.masterKey, purpose, reserved.answer)),
      );
      return new Response(body, {
        status,
        headers: { "content-type": type, "idempotent-replayed": "true", "cache-control": "no-store" },
      });
    }

    let result: [hash: string, response: string] | null = null;
    try {
      if (hash.isForm) hashStream(c, hash);
      await next();
      result = await storableResponse(c, requestHash ?? hash.digest(), settings.masterKey, purpose);
    } finally {
      // A failed request releases the key, so that it can be corrected and retried.
      await rpc(db, "complete_idempotency_key", {
        id: reserved.id,
        request_hash: result?.[0] ?? null,
        answer: result?.[1] ?? null,
      }).catch((error) =>
        log({ level: "error", msg: "an idempotency key could not be released", error: describeError(error) })
      );
    }
  };

function keyOf(c: Context<ApiEnv>): string | undefined {
  const key = c.req.header("idempotency-key");
  if (key !== undefined && (key.length < 1 || key.length > 255)) {
    throw new ApiError("invalid_request", [{
      param: "idempotency-key",
      message: `idempotency-key: has ${key.length} characters; it must have 1 to 255 characters.`,
    }]);
  }
  return key;
}

/** A hash of everything that identifies the request except its body. */
function hashOf(c: Context<ApiEnv>): BodyHash {
  return new BodyHash(c.req.header("content-type") ?? "", [
    c.req.path,
    new URL(c.req.url).search,
    c.req.header("openai-project") ?? "",
  ]);
}

/** The caller, with the project in the path, if there is one. */
function callerAt(c: Context<ApiEnv>) {
  const caller = c.get("caller");
  const named = /^\/tunebase\/projects\/([^/]+)/.exec(c.req.path)?.[1];
  const project_id = named === undefined ? null : parseId("project", named);
  return "user_id" in caller && project_id !== null ? { ...caller, project_id } : caller;
}

async function storableResponse(
  c: Context<ApiEnv>,
  requestHash: string,
  masterKey: string,
  purpose: string,
): Promise<[string, string] | null> {
  const type = c.res.headers.get("content-type") ?? "";
  if (!c.res.ok || !type.startsWith("application/json")) return null;
  const response = c.res;
  const body = await response.text();
  c.res = undefined;
  c.res = new Response(body, { status: response.status, headers: response.headers });
  if (body.length > maxResponseChars) return null;
  const stored: z.infer<typeof StoredResponse> = { status: response.status, type, body };
  return [requestHash, await encrypt(masterKey, purpose, JSON.stringify(stored))];
}

/** Hono keeps the text for the route. */
async function hashBody(c: Context<ApiEnv>, hash: BodyHash): Promise<string> {
  hash.update(bytes.encode(await c.req.text()));
  return hash.digest();
}

function hashStream(c: Context<ApiEnv>, hash: BodyHash): void {
  const body = c.req.raw.body?.pipeThrough(
    new TransformStream({
      transform(chunk: Uint8Array, out) {
        hash.update(chunk);
        out.enqueue(chunk);
      },
    }),
  );
  // A streaming body requires `duplex`, which Deno's types lack.
  c.req.raw = new Request(c.req.raw, { body, duplex: "half" } as RequestInit);
}
