/** Looks at attempts that are due for it: asks RunPod and Storage, tells SQL what was found, and sends cancels. */
import * as z from "zod";
import { logError } from "../../_shared/log.ts";
import { incomingObject, promoteUpload } from "../../_shared/artifacts.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import type { Platform } from "../../_shared/platform.ts";
import { trainerFaults } from "../../_shared/contracts/trainer_errors.ts";
import { Manifest, TrainerErrorCode } from "../../_shared/protocol.ts";
import { CpuBudget, price } from "../cpu_budget.ts";
import type { Found, Runpod } from "../runpod.ts";

const Due = z.object({
  id: z.string(),
  endpoint_id: z.string(),
  runpod_job_id: z.string().nullable(),
  /** Where its files lie in the bucket `tunebase-adapters`, and its holder's fence. */
  prefix: z.string(),
  fence: z.int(),
  /** For how long no worker has had it; null when one has. */
  waiting_seconds: z.number().nullable(),
  /** Nobody wants it, and RunPod has not been told lately. */
  cancel: z.boolean(),
});
type Due = z.infer<typeof Due>;
/** `cancel`: RunPod is to be told before the attempt ends here. */
const Reconciled = z.object({ cancel: z.boolean().optional() });

const over = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "GONE"];

/** Attempts that are looked at in one tick, all at once. */
export const maxReconciledPerTick = 20;

/** Looks at up to `maxReconciledPerTick` attempts; returns how many. One that cannot be looked at is due again soon. */
export async function reconcile(
  platform: Platform,
  runpod: Runpod,
  budget = new CpuBudget(),
): Promise<number> {
  const due = await rpc(
    platform.db,
    "claim_attempts_to_reconcile",
    { limit: maxReconciledPerTick },
    z.array(Due),
  );
  budget.spend(due.length * price.look);
  await Promise.all(
    due.map((attempt) =>
      look(platform, runpod, attempt).catch((error) => logError(`attempt ${attempt.id}`, error))
    ),
  );
  return due.length;
}

async function look(platform: Platform, runpod: Runpod, attempt: Due): Promise<void> {
  const { db, settings } = platform;
  const { id, endpoint_id, runpod_job_id } = attempt;
  if (attempt.cancel && runpod_job_id !== null && await runpod.cancel(endpoint_id, runpod_job_id)) {
    await rpc(db, "record_cancel_sent", { attempt_id: id });
  }
  const found: Found = runpod_job_id === null
    ? { status: "NONE", error: null, output: null }
    : await runpod.status(endpoint_id, runpod_job_id);
  const manifest = over.includes(found.status) ? await findFiles(platform, attempt, found.output) : null;
  // A minute in the queue is usual; after that a person wants to know why.
  const waits = (attempt.waiting_seconds ?? 0) > 60 && !over.includes(found.status);
  const status_reason = waits ? await runpod.queueReason(endpoint_id) : null;
  const tell = (more: Record<string, boolean> = {}) =>
    rpc(db, "reconcile_attempt", {
      attempt_id: id,
      found: { ...found, manifest, status_reason, ...more },
      fault: faultOf(found.output),
      max_missed_heartbeats: settings.maxMissedHeartbeats,
    }, Reconciled);
  if ((await tell()).cancel === true && runpod_job_id !== null) {
    await runpod.cancel(endpoint_id, runpod_job_id);
    await tell({ cancel_tried: true });
  }
}

/**
 * A finish can get lost while the files did not: the handler's output, or else `manifest.json` in Storage, says which
 * they are. Takes each in and returns the manifest, or null when there is none or a file is missing or damaged.
 */
async function findFiles(platform: Platform, attempt: Due, output: unknown): Promise<Manifest | null> {
  if (attempt.fence === 0) return null; // no worker ever had it
  const told = output !== null && typeof output === "object" && "manifest" in output ? output.manifest : null;
  const manifest = Manifest.safeParse(told ?? await storedManifest(platform, attempt));
  if (!manifest.success) return null;
  for (const file of manifest.data.files) {
    const wrong = await promoteUpload(
      platform.supabase,
      attempt.prefix,
      attempt.fence,
      file,
      () =>
        rpc(platform.db, "invalidate_verified_file", {
          attempt_id: attempt.id,
          fence: attempt.fence,
          path: file.path,
        }),
    );
    if (wrong !== null) {
      logError(`attempt ${attempt.id}: ${wrong}`);
      return null;
    }
    await rpc(platform.db, "record_recovered_file", { attempt_id: attempt.id, file });
  }
  return manifest.data;
}

/** What the worker wrote last of all, or null. It is checked by whoever reads it: it came from outside. */
async function storedManifest({ supabase }: Platform, attempt: Due): Promise<unknown> {
  const { data, error } = await supabase.storage.from("tunebase-adapters").download(
    incomingObject(attempt.prefix, attempt.fence, "manifest.json"),
  );
  if (error !== null) return null; // mostly: it is not there
  try {
    return JSON.parse(await data.text());
  } catch {
    return null; // cut off while it was written
  }
}

/** Whose fault the handler says it was, by its error code; null when it says nothing that we know. */
function faultOf(output: unknown): string | null {
  if (output === null || typeof output !== "object" || !("error_code" in output)) return null;
  const code = TrainerErrorCode.safeParse(output.error_code);
  return code.success ? trainerFaults[code.data] : null;
}
