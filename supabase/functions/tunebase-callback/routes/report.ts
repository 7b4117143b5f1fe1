/** POST …/report: progress, metrics and log lines. The reply has the worker's directive. */
import { rpc } from "../../_shared/database/rpc.ts";
import { ReportReply, ReportRequest } from "../../_shared/protocol.ts";
import { parseOrThrow } from "../../_shared/validation.ts";
import type { CallbackContext } from "../context.ts";

export async function report(c: CallbackContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const request = parseOrThrow(ReportRequest, c.get("body"));
  const args = { attempt_id: c.get("attemptId"), report: request, lease_seconds: settings.leaseSeconds };
  return c.json(await rpc(db, "record_progress", args, ReportReply));
}
