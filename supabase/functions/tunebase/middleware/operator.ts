/** Authentication of the operator: a secret derived from the master key, which no project's key or user has. */
import type { MiddlewareHandler } from "hono";
import { metricsSecretPurpose } from "../../_shared/contracts/installation_metrics.ts";
import { ApiError } from "../../_shared/errors.ts";
import type { Settings } from "../../_shared/platform.ts";
import { deriveSecret, timingSafeEqual } from "../../_shared/secrets.ts";
import type { ApiEnv } from "../context.ts";

/** Responds with 401 unless the bearer token is the metrics secret. Does not query the database, so invalid requests are cheap. */
export function authenticateOperator({ masterKey }: Settings): MiddlewareHandler<ApiEnv> {
  return async function authenticateOperator(c, next) {
    const given = /^Bearer +(\S+)$/i.exec(c.req.header("authorization")?.trim() ?? "")?.[1];
    if (given === undefined) throw rejected("missing_api_key", "Send `Authorization: Bearer <secret>`.");
    if (!await timingSafeEqual(given, deriveSecret(masterKey, metricsSecretPurpose))) {
      throw rejected("invalid_token", "This is not the metrics secret.");
    }
    await next();
  };
}

function rejected(code: "missing_api_key" | "invalid_token", problem: string): ApiError {
  const message = `${problem} The operator derives it with \`task operator metrics-secret\`.`;
  return new ApiError(code, [{ param: null, message }]);
}
