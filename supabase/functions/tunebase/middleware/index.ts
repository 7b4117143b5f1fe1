/**
 * The middleware of API routes, in this order: authentication, rate limit, URL text, body size, ETags, idempotency. A
 * route's declaration determines which of them it needs.
 */
import type { MiddlewareHandler } from "hono";
import { every } from "hono/combine";
import type { Platform } from "../../_shared/platform.ts";
import type { ApiEnv } from "../context.ts";
import type { Route } from "../routes/define.ts";
import { authenticate } from "./auth.ts";
import { limitBody } from "./body_limit.ts";
import { etag } from "./etag.ts";
import { idempotent, recorded } from "./idempotency.ts";
import { authenticateOperator } from "./operator.ts";
import { limitRate } from "./rate_limit.ts";
import { rejectUnstorableUrl } from "./url_text.ts";

type Requirements = Pick<Route, "method" | "scope" | "form" | "ifMatch" | "idempotency">;

const noMiddleware: MiddlewareHandler<ApiEnv> = (_, next) => next();

/** Call once per app: it holds the state of the rate limiter. */
export function apiMiddleware(platform: Platform): (route: Requirements) => MiddlewareHandler<ApiEnv> {
  const always = [authenticate(platform.settings), limitRate(platform.db), rejectUnstorableUrl];
  return ({ method, scope, form, ifMatch, idempotency }) =>
    scope === "none" ? noMiddleware : scope === "operator" ? authenticateOperator(platform.settings) : every(
      ...always,
      ...(form === undefined ? [limitBody] : []),
      etag(ifMatch ?? false),
      ...(method !== "POST" || idempotency === "none"
        ? []
        : idempotency === "in_sql"
        ? [recorded]
        : [idempotent(scope === "any" || scope === "user" ? null : scope)]),
    ) as MiddlewareHandler<ApiEnv>;
}
