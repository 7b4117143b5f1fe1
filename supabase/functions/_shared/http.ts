/** Middleware of every app: request ids, one log line per request, error responses, 404 and 405. */
import type { Context, Env, Hono } from "hono";
import { methodNotAllowed } from "hono/method-not-allowed";
import { matchedRoutes } from "hono/route";
import { ApiError } from "./errors.ts";
import { describeError } from "./log.ts";
import type { Platform } from "./platform.ts";
import { version } from "./version.ts";

interface RequestInfo {
  id: string;
  logged: Record<string, unknown>;
}
const requests = new WeakMap<Context, RequestInfo>();

/** Client ids that are safe in a header and a log. (Hono's `requestId` rejects dots and colons.) */
const clientId = /^[\w.:-]{1,128}$/;

function requestInfo<E extends Env>(c: Context<E>): RequestInfo {
  const found = requests.get(c);
  if (found !== undefined) return found;
  const given = c.req.header("x-request-id");
  const id = given !== undefined && clientId.test(given)
    ? given
    : `req_${crypto.randomUUID().replaceAll("-", "")}`;
  const made = { id, logged: {} };
  requests.set(c, made);
  return made;
}

/** Adds fields to the request's log line. Never a secret, a body, or a part of one. */
export function addToLog<E extends Env>(c: Context<E>, fields: Record<string, unknown>): void {
  Object.assign(requestInfo(c).logged, fields);
}

/** Adds headers to a finished response: in place if possible, but the headers of a response from `fetch` are immutable. */
export function addHeaders<E extends Env>(c: Context<E>, headers: Record<string, string>): void {
  try {
    for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value);
  } catch {
    for (const [name, value] of Object.entries(headers)) c.header(name, value);
  }
}

/** Responds to a method that the path does not support: 405, or 204 for OPTIONS. */
export function respondMethodNotAllowed<E extends Env>(c: Context<E>, methods: string[]): Response {
  const { path, method } = c.req;
  const allow = [...methods, "OPTIONS"].join(", ");
  if (method === "OPTIONS") return c.body(null, 204, { allow });
  throw new ApiError(
    "method_not_allowed",
    [{ param: null, message: `${path} does not support ${method}. Allowed: ${allow}.` }],
    { headers: { allow } },
  );
}

/** Whether the request is a CORS preflight. */
export const isPreflight = <E extends Env>(c: Context<E>) =>
  c.req.method === "OPTIONS" && c.req.header("access-control-request-method") !== undefined;

/**
 * Installs the middleware. The log has the route's pattern, never its path or query, which can hold tokens. Errors that are
 * not ApiErrors are logged and hidden from the client.
 */
export function installBaseMiddleware<E extends Env>(
  app: Hono<E>,
  name: string,
  platform: Pick<Platform, "log">,
): void {
  app.use("*", async function logRequest(c, next) {
    const start = performance.now();
    // Before the route runs: to add a header to a finished response, Hono would copy its body through another stream.
    const identity = { "x-request-id": requestInfo(c).id, "x-tunebase-version": version };
    for (const [name, value] of Object.entries(identity)) c.header(name, value);
    await next();
    // A Response that the route built itself does not have them.
    for (const [name, value] of Object.entries(identity)) {
      if (!c.res.headers.has(name)) c.header(name, value);
    }
    if (c.req.method === "HEAD" && c.res.body !== null) {
      // Hono handles HEAD as GET and drops the body without cancelling its source.
      const { body, status, headers } = c.res;
      await body.cancel();
      c.res = undefined;
      c.res = new Response(null, { status, headers });
    }
    const { status } = c.res;
    platform.log({
      level: status >= 500 ? "error" : "info",
      msg: "request",
      function: name,
      request_id: requestInfo(c).id,
      method: c.req.method,
      route: matchedRoutes(c).filter(({ method }) => method !== "ALL").at(-1)?.path ?? null,
      status,
      ms: Math.round(performance.now() - start),
      ...requestInfo(c).logged,
    });
  });
  app.use("*", methodNotAllowed({ app, onMethodNotAllowed: respondMethodNotAllowed }));
  const respond = (c: Context<E>, error: ApiError, cause: unknown = error.cause): Response => {
    addToLog(c, { code: error.code, ...(cause === undefined ? {} : { error: describeError(cause) }) });
    return error.response(requestInfo(c).id);
  };
  app.onError((error, c) =>
    error instanceof ApiError ? respond(c, error) : respond(c, ApiError.of("internal"), error)
  );
  app.notFound((c) =>
    respond(
      c,
      new ApiError("route_not_found", [{
        param: null,
        message: `Not found: ${c.req.method} ${c.req.path}.`,
      }]),
    )
  );
}
