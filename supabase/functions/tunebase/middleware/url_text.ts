/** Refuses a path or query with what Postgres cannot store; `jsonBody` and `readForm` do the same for bodies. */
import type { MiddlewareHandler } from "hono";
import { rejectUnstorableText } from "../../_shared/text.ts";
import type { ApiEnv } from "../context.ts";

/** Headers need no check: HTTP has no way to write NUL in one, and their characters are single bytes. */
export const rejectUnstorableUrl: MiddlewareHandler<ApiEnv> = async function rejectUnstorableUrl(c, next) {
  // Percent-encoding is the only way in.
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
    return path; // no UTF-8: the router takes it as it is, and so do we
  }
}
