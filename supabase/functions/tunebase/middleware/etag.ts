/**
 * ETags (RFC 9110). Every JSON answer to a GET has one: the row's version, where the row has one, and a hash of the body.
 * If-None-Match compares all of it; If-Match the version alone, so that a key's last use or a project's spending does
 * not stand in the way of an edit. The database checks the version with the row locked (`tunebase_internal.require_version`).
 *
 * Hono's `etag` does not fit: it hashes every answer to a GET, streams of events and files too, and knows no If-Match.
 */
import type { Context, MiddlewareHandler } from "hono";
import { ApiError } from "../../_shared/errors.ts";
import type { ApiEnv } from "../context.ts";

const { createHash } = await import("node:crypto"); // _shared/on_first_use.ts says why

/** `ifMatch`: whether the route changes rows that count their versions. */
export const conditional = (ifMatch: boolean): MiddlewareHandler<ApiEnv> =>
  async function conditional(c, next) {
    const { method } = c.req;
    const wanted = c.req.header("if-match")?.trim();
    if (wanted !== undefined && wanted !== "*" && method !== "GET" && method !== "HEAD") {
      if (!ifMatch) {
        throw new ApiError("invalid_request", [{
          param: "if-match",
          message:
            "if-match: is taken where projects, API keys, webhook endpoints and channels are changed; leave it out here.",
        }]);
      }
      c.set("caller", { ...c.get("caller"), if_match: versions(wanted) });
    }
    await next();
    await tag(c);
  };

/** `"3-9f86d0", W/"4-…"` as `3,4`; a tag that is none of ours names version 0, which no row has. */
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
  const answer = c.res;
  const body = await answer.text();
  const hash = createHash("sha256").update(body).digest("hex").slice(0, 24);
  const etag = `"${version === undefined ? "" : `${version}-`}${hash}"`;
  const headers = new Headers(answer.headers);
  headers.set("etag", etag);
  // What one caller sees is not another's: kept by nobody in between, and asked for again each time.
  if (reads && !headers.has("cache-control")) headers.set("cache-control", "private, no-cache");
  const known = c.req.header("if-none-match")?.split(",").map((one) => one.trim().replace(/^W\//, ""));
  const unchanged = reads && known !== undefined && (known.includes(etag) || known.includes("*"));
  if (unchanged) { for (const name of ["content-type", "content-length"]) headers.delete(name); }
  c.res = undefined; // or Hono would copy the old one's headers into the new
  c.res = new Response(unchanged ? null : body, { status: unchanged ? 304 : 200, headers });
}
