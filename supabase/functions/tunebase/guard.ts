/**
 * What every route but `/health` stands behind, in this order: who calls, how often, with which text in the address, how
 * much they send, on which condition, and whether they have sent it before.
 */
import type { MiddlewareHandler } from "hono";
import { every } from "hono/combine";
import type { Platform } from "../_shared/platform.ts";
import { authenticate } from "./auth.ts";
import { limitBody } from "./body_limit.ts";
import { conditional } from "./conditional.ts";
import type { ApiEnv } from "./context.ts";
import { idempotent } from "./idempotency.ts";
import { limitRate } from "./rate_limit.ts";
import { refuseBadUrl } from "./stored_text.ts";

/** One guard an app: it remembers what callers may still send. */
export function guard(platform: Platform): MiddlewareHandler<ApiEnv> {
  return every(
    authenticate(platform.settings),
    limitRate(platform.db),
    refuseBadUrl,
    limitBody,
    conditional,
    idempotent,
  ) as MiddlewareHandler<ApiEnv>;
}
