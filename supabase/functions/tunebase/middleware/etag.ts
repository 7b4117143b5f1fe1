/**
 * ETags (RFC 9110). Every JSON response to a GET has one: the row's version, if it has one, and a hash of the body.
 * If-None-Match compares the whole tag. If-Match compares only the version, so that a key's last use or a project's
 * spending does not block an edit. The database checks it with the row locked (`tunebase_internal.require_version`).
 *
 * Hono's `etag` also hashes event streams and files, and does not support If-Match.
 */
import type { Context, MiddlewareHandler } from "hono";
import { ApiError } from "../../_shared/errors.ts";
import type { ApiEnv } from "../context.ts";

const { createHash } = await import("node:crypto"); // see _shared/lazy.ts

/** `ifMatch`: whether the route changes a row that has a version. */
export const etag = (ifMatch: boolean): MiddlewareHandler<ApiEnv> =>
  async function handleEtag(c, next) {
    const { method } = c.req;
    const wanted = c.req.header("if-match")?.trim();
    if (wanted !== undefined && wanted !== "*" && method !== "GET" && method !== "HEAD") {
      if (!ifMatch) {
        throw new ApiError("invalid_request", [{
          param: "if-match",
          message:
            "if-match: is not supported by this route. Only changes of projects, API keys, webhook endpoints and notification channels support it.",
        }]);
      }
      c.set("caller", { ...c.get("caller"), if_match: versions(wanted) });
    }
    await next();
    await tag(c);
  };

/** `"3-9f86d0", W/"4-…"` becomes `3,4`. An unknown tag becomes 0, which no row has. */
function versions(header: string): string {
  return header.split(",").map((tag) => /^\s*(?:W\/)?"(\d{1,9})-[0-9a-f]+"\s*$/.exec(tag)?.[1] ?? "0").join(
    ",",
  );
}

async function tag(c: Context<ApiEnv>): Promise<void> {
  const reads = c.req.method === "GET" || c.req.method === "HEAD";
  const version = c.get("version") as number | undefined;
  if (c.res.status !== 200 || !(reads || version !== undefined)) return;
  if (!(c.res.headers.get("content-type") ?? "").startsWith("application/json")) return;
  const response = c.res;
  const body = await response.text();
  const hash = createHash("sha256").update(body).digest("hex").slice(0, 24);
  const etag = `"${version === undefined ? "" : `${version}-`}${hash}"`;
  const headers = new Headers(response.headers);
  headers.set("etag", etag);
  // Responses depend on the caller: no shared caches, and always revalidate.
  if (reads && !headers.has("cache-control")) headers.set("cache-control", "private, no-cache");
  const known = c.req.header("if-none-match")?.split(",").map((one) => one.trim().replace(/^W\//, ""));
  const unchanged = reads && known !== undefined && (known.includes(etag) || known.includes("*"));
  if (unchanged) { for (const name of ["content-type", "content-length"]) headers.delete(name); }
  c.res = undefined; // otherwise Hono would copy the old headers into the new response
  c.res = new Response(unchanged ? null : body, { status: unchanged ? 304 : 200, headers });
}
