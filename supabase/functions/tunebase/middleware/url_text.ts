/** Refuses a path or query with what Postgres cannot store; `jsonBody` and `readForm` do the same for bodies. */
import type { MiddlewareHandler } from "hono";
import { refuseBadText } from "../../_shared/text.ts";
import type { ApiEnv } from "../context.ts";

/** Headers need no check: HTTP has no way to write NUL in one, and their characters are single bytes. */
export const refuseBadUrl: MiddlewareHandler<ApiEnv> = async function refuseBadUrl(c, next) {
  // Percent-encoding is the only way in.
  if (c.req.url.includes("%")) {
    refuseBadText(decoded(c.req.path), "path");
    refuseBadText(c.req.query());
  }
  await next();
};

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // no UTF-8: the router takes it as it is, and so do we
  }
}
