/** POST …/finish: the worker's last word. `succeeded` needs every file of the manifest to be verified. */
import type * as z from "zod";
import { call } from "../../_shared/database.ts";
import { type FinishReply, FinishRequest, trainerFaults } from "../../_shared/protocol.ts";
import { check } from "../../_shared/validation.ts";
import type { CallbackContext } from "../context.ts";

export async function finish(c: CallbackContext): Promise<Response> {
  const request = check(FinishRequest, c.get("body"));
  const fault = request.outcome === "failed" ? trainerFaults[request.error_code] : null;
  const reply = await call<z.infer<typeof FinishReply>>(
    c.get("platform").sql,
    "finish_attempt",
    c.get("attemptId"),
    { json: request },
    fault,
  );
  return c.json(reply);
}
