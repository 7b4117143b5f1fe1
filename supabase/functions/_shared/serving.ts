/** What every app does around its routes: a request id, one error handler, one not-found. */
import type { Context, Env, Hono } from "hono";
import { ApiError } from "./errors.ts";

/** Adds request ids and the rendering of errors to an app. Anything that is not an ApiError is logged and hidden. */
export function serveErrors<E extends Env>(app: Hono<E>): void {
  app.use("*", async function requestId(c, next) {
    // Before the route: into an answer that is finished, Hono puts a header by sending its body through a stream anew.
    c.header("x-request-id", idOf(c));
    await next();
    // A route's own Response does not have it yet.
    if (!c.res.headers.has("x-request-id")) c.header("x-request-id", idOf(c));
  });
  app.onError((error, c) => {
    if (error instanceof ApiError) {
      if (error.entry.status >= 500) console.error(idOf(c), error.code, error.cause ?? "");
      return error.response(idOf(c));
    }
    console.error(idOf(c), c.req.method, new URL(c.req.url).pathname, error);
    return ApiError.of("internal").response(idOf(c));
  });
  app.notFound((c) =>
    new ApiError("route_not_found", [{
      param: null,
      message: `There is nothing at ${c.req.method} ${new URL(c.req.url).pathname}.`,
    }]).response(idOf(c))
  );
}

const ids = new WeakMap<Request, string>();

function idOf(c: Context): string {
  const known = ids.get(c.req.raw);
  if (known !== undefined) return known;
  const id = `req_${crypto.randomUUID().replaceAll("-", "")}`;
  ids.set(c.req.raw, id);
  return id;
}
