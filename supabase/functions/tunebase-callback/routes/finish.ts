/** POST …/finish: the worker's final call. `succeeded` requires that every file in the manifest is verified. */
import { trainerFaults } from "../../_shared/contracts/trainer_errors.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { FinishReply, FinishRequest } from "../../_shared/protocol.ts";
import { parseOrThrow } from "../../_shared/validation.ts";
import type { CallbackContext } from "../context.ts";

export async function finish(c: CallbackContext): Promise<Response> {
  const request = parseOrThrow(FinishRequest, c.get("body"));
  const fault = request.outcome === "failed" ? trainerFaults[request.error_code] : null;
  const { db } = c.get("platform");
  const args = { attempt_id: c.get("attemptId"), finish: request, fault };
  return c.json(await rpc(db, "finish_attempt", args, FinishReply));
}
