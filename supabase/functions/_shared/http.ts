/** What every app does around its routes: request ids, one log line a request, one error handler, what is not there. */
import type { Context, Env, Hono } from "hono";
import { methodNotAllowed } from "hono/method-not-allowed";
import { matchedRoutes } from "hono/route";
import { ApiError } from "./errors.ts";
import { describeError } from "./log.ts";
import type { Platform } from "./platform.ts";

/** What is known of a request beside what its route says. */
interface Known {
  id: string;
  logged: Record<string, unknown>;
}
const requests = new WeakMap<Context, Known>();

/** A client's own id is kept where it is one that can stand in a header and a log. (Hono's `requestId` refuses dots and colons.) */
const clientId = /^[\w.:-]{1,128}$/;

function known<E extends Env>(c: Context<E>): Known {
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

/** Puts more into a request's log line. Never a secret, a body, or a part of one. */
export function addToLog<E extends Env>(c: Context<E>, fields: Record<string, unknown>): void {
  Object.assign(known(c).logged, fields);
}

/** Puts headers into an answer that is finished, in place where it can be: one that came from `fetch` cannot. */
export function addHeaders<E extends Env>(c: Context<E>, headers: Record<string, string>): void {
  try {
    for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value);
  } catch {
    for (const [name, value] of Object.entries(headers)) c.header(name, value);
  }
}

/** What a path answers that has these methods and not the request's: 405, or what OPTIONS asks for. */
export function respondMethodNotAllowed<E extends Env>(c: Context<E>, methods: string[]): Response {
  const { path, method } = c.req;
  const allow = [...methods, "OPTIONS"].join(", ");
  if (method === "OPTIONS") return c.body(null, 204, { allow });
  throw new ApiError(
    "method_not_allowed",
    [{ param: null, message: `${path} has ${allow}, not ${method}.` }],
    { headers: { allow } },
  );
}

/** Whether a browser asks before it sends: for CORS to answer. */
export const isPreflight = <E extends Env>(c: Context<E>) =>
  c.req.method === "OPTIONS" && c.req.header("access-control-request-method") !== undefined;

/**
 * Adds them to an app. The log names a route's pattern, never a path or query: those can hold tokens. Anything thrown
 * that is not an ApiError is logged and hidden.
 */
export function installBaseMiddleware<E extends Env>(
  app: Hono<E>,
  name: string,
  platform: Pick<Platform, "log">,
): void {
  app.use("*", async function logRequest(c, next) {
    const begin = performance.now();
    // Before the route: into an answer that is finished, Hono puts a header by sending its body through a stream anew.
    c.header("x-request-id", known(c).id);
    await next();
    // A route's own Response does not have it yet.
    if (!c.res.headers.has("x-request-id")) c.header("x-request-id", known(c).id);
    if (c.req.method === "HEAD" && c.res.body !== null) {
      // Hono answers HEAD as GET and drops the body; what streams it must be told.
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
      request_id: known(c).id,
      method: c.req.method,
      route: matchedRoutes(c).filter(({ method }) => method !== "ALL").at(-1)?.path ?? null,
      status,
      ms: Math.round(performance.now() - begin),
      ...known(c).logged,
    });
  });
  app.use("*", methodNotAllowed({ app, onMethodNotAllowed: respondMethodNotAllowed }));
  const refuse = (c: Context<E>, refusal: ApiError, why: unknown = refusal.cause): Response => {
    addToLog(c, { code: refusal.code, ...(why === undefined ? {} : { error: describeError(why) }) });
    return refusal.response(known(c).id);
  };
  app.onError((error, c) =>
    error instanceof ApiError ? refuse(c, error) : refuse(c, ApiError.of("internal"), error)
  );
  app.notFound((c) =>
    refuse(
      c,
      new ApiError("route_not_found", [{
        param: null,
        message: `There is nothing at ${c.req.method} ${c.req.path}.`,
      }]),
    )
  );
}
