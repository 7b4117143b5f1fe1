/** POST …/report: progress, metrics and log lines; the reply carries the order. */
import type * as z from "zod";
import { call } from "../../_shared/database.ts";
import { type ReportReply, ReportRequest } from "../../_shared/protocol.ts";
import { check } from "../../_shared/validation.ts";
import type { CallbackContext } from "../context.ts";

export async function report(c: CallbackContext): Promise<Response> {
  const { sql, settings } = c.get("platform");
  const request = check(ReportRequest, c.get("body"));
  const reply = await call<z.infer<typeof ReportReply>>(
    sql,
    "record_progress",
    c.get("attemptId"),
    { json: request },
    settings.leaseSeconds,
  );
  return c.json(reply);
}
