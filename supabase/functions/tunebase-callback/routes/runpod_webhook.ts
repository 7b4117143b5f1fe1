/**
 * POST /runpod/{attempt}/{token}: RunPod reports that a run has ended. The webhook is unsigned, so it is only a hint to
 * reconcile the attempt, which reads /status. Responds with 200 to every valid token, or RunPod would send it again.
 */
import { wakeScheduler } from "../../_shared/wake_scheduler.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { ApiError } from "../../_shared/errors.ts";
import { deriveSecret, timingSafeEqual } from "../../_shared/secrets.ts";
import { clean } from "../../_shared/text.ts";
import type { CallbackContext } from "../context.ts";
import { uuid } from "../signature.ts";

export async function runpodWebhook(c: CallbackContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  const { id = "", token = "" } = c.req.param();
  if (!uuid.test(id)) {
    throw new ApiError("invalid_request", [{ param: "id", message: "id: must be the UUID of an attempt." }]);
  }
  const expected = deriveSecret(settings.masterKey, `runpod-webhook/${id}`);
  if (!await timingSafeEqual(token, expected)) throw ApiError.of("invalid_signature");
  // An ambiguous /run may not have returned the run's id, so it is stored. Nothing else in the body is trusted.
  const body: unknown = await c.req.json().catch(() => null);
  const runpodId = body !== null && typeof body === "object" && "id" in body && typeof body.id === "string"
    ? clean(body.id.slice(0, 200))
    : null;
  await rpc(db, "schedule_reconcile", { attempt_id: id, runpod_job_id: runpodId });
  waitUntil(wakeScheduler(settings));
  return c.json({ received: true });
}
