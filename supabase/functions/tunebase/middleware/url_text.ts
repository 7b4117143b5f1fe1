/** Rejects paths and queries that Postgres cannot store. `jsonBody` and `readForm` do the same for bodies. */
import type { MiddlewareHandler } from "hono";
import { rejectUnstorableText } from "../../_shared/text.ts";
import type { ApiEnv } from "../context.ts";

/** Headers need no check: they cannot contain NUL, and their characters are single bytes. */
export const rejectUnstorableUrl: MiddlewareHandler<ApiEnv> = async function rejectUnstorableUrl(c, next) {
  // Only percent-encoding can produce such text.
  if (c.req.url.includes("%")) {
    rejectUnstorableText(decoded(c.req.path), "path");
    rejectUnstorableText(c.req.query());
  }
  await next();
};

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // not UTF-8: the router uses it as is
  }
}
