/** Looks at attempts that are due for it: asks RunPod, tells SQL what was found, and sends cancels. */
import { call } from "../_shared/database.ts";
import type { Platform } from "../_shared/platform.ts";
import { TrainerErrorCode, trainerFaults } from "../_shared/protocol.ts";
import type { Found, Runpod } from "./runpod.ts";

interface Due {
  id: string;
  endpoint_id: string;
  runpod_job_id: string | null;
  state: string;
  /** The job is over and RunPod has not been told lately. */
  cancel: boolean;
}

/** Looks at up to `limit` attempts at once; returns how many. */
export async function reconcile({ sql }: Platform, runpod: Runpod, limit = 20): Promise<number> {
  const due = await call<Due[]>(sql, "due_attempts", limit);
  await Promise.all(due.map(async (attempt) => {
    const id = attempt.runpod_job_id;
    if (attempt.cancel && id !== null && await runpod.cancel(attempt.endpoint_id, id)) {
      await call(sql, "cancel_sent", attempt.id);
    }
    const found: Found = id === null
      ? { status: "NONE", error: null, output: null }
      : await runpod.status(attempt.endpoint_id, id);
    const { cancel } = await call<{ cancel?: boolean }>(
      sql,
      "reconcile",
      attempt.id,
      { json: found },
      faultOf(found),
    );
    if (cancel === true && id !== null) await runpod.cancel(attempt.endpoint_id, id);
  }));
  return due.length;
}

/** Whose fault the handler says it was, by its error code; null when it says nothing that we know. */
function faultOf(found: Found): string | null {
  const output = found.output;
  if (output === null || typeof output !== "object" || !("error_code" in output)) return null;
  const code = TrainerErrorCode.safeParse(output.error_code);
  return code.success ? trainerFaults[code.data] : null;
}
