/** Verifies that a callback is signed with the attempt's secret (Standard Webhooks, HMAC-SHA256). */
import type { MiddlewareHandler } from "hono";
import { Webhook, WebhookVerificationError } from "standardwebhooks";
import { ApiError } from "../_shared/errors.ts";
import { callbackSecret } from "../_shared/secrets.ts";
import { cleanJson } from "../_shared/text.ts";
import type { CallbackEnv } from "./context.ts";

/** An attempt's id. */
export const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Verifiers of attempts that have sent a valid call. Deriving a secret takes a tenth of a callback's CPU time. */
const verifiers = new Map<string, Webhook>();
const maxVerifiers = 1000;

/**
 * Sets `attemptId` and `body`, or responds with 401. The secret is derived from the attempt's id, so forged calls are
 * rejected without reading the database.
 */
export const verifySignature: MiddlewareHandler<CallbackEnv> = async function verifySignature(c, next) {
  const id = c.req.param("id") ?? "";
  if (!uuid.test(id)) throw ApiError.of("invalid_signature");
  const text = await c.req.text();
  const { masterKey } = c.get("platform").settings;
  const name = `${id} ${masterKey}`;
  const webhook = verifiers.get(name) ?? new Webhook(callbackSecret(masterKey, id));
  try {
    // Sanitized, not rejected: a NUL in one log line must not block a report.
    c.set("body", cleanJson(webhook.verify(text, c.req.header())));
    if (verifiers.size >= maxVerifiers) verifiers.clear();
    verifiers.set(name, webhook);
  } catch (error) {
    if (error instanceof WebhookVerificationError) throw ApiError.of("invalid_signature");
    if (error instanceof SyntaxError) {
      throw new ApiError("invalid_json", [{
        param: null,
        message: `The body is not valid JSON: ${error.message}`,
      }]);
    }
    throw error;
  }
  c.set("attemptId", id);
  await next();
};
