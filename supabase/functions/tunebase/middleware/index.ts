/**
 * What a route stands behind, in this order: who calls, how often, with which text in the address, how much they send, on
 * which condition, and whether they have sent it before. Its declaration says which of these it needs.
 */
import type { MiddlewareHandler } from "hono";
import { every } from "hono/combine";
import type { Platform } from "../../_shared/platform.ts";
import type { ApiEnv } from "../context.ts";
import type { Route } from "../routes/define.ts";
import { authenticate } from "./auth.ts";
import { limitBody } from "./body_limit.ts";
import { conditional } from "./etag.ts";
import { idempotent, recorded } from "./idempotency.ts";
import { limitRate } from "./rate_limit.ts";
import { rejectUnstorableUrl } from "./url_text.ts";

type Guarded = Pick<Route, "method" | "scope" | "form" | "ifMatch" | "idempotency">;

const everybody: MiddlewareHandler<ApiEnv> = (_, next) => next();

/** One guard an app: it remembers what callers may still send. */
export function guard(platform: Platform): (route: Guarded) => MiddlewareHandler<ApiEnv> {
  const who = [authenticate(platform.settings), limitRate(platform.db), rejectUnstorableUrl];
  return ({ method, scope, form, ifMatch, idempotency }) =>
    scope === "none" ? everybody : every(
      ...who,
      ...(form === undefined ? [limitBody] : []),
      conditional(ifMatch ?? false),
      ...(method !== "POST" ? [] : idempotency === "in_sql"
        ? [recorded]
        // Being somebody is enough to make a project or to answer an invitation.
        : [idempotent(scope === "any" || scope === "person" ? null : scope)]),
    ) as MiddlewareHandler<ApiEnv>;
}
