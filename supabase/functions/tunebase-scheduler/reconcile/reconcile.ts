/** Reconciles attempts with RunPod and Storage: reports their status to SQL, and cancels runs. */
import { buckets } from "../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { logError } from "../../_shared/log.ts";
import { incomingObject, promoteUpload } from "../../_shared/artifacts.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import type { Platform } from "../../_shared/platform.ts";
import { trainerFaults } from "../../_shared/contracts/trainer_errors.ts";
import { Manifest, TrainerErrorCode } from "../../_shared/protocol.ts";
import { CpuBudget, price } from "../cpu_budget.ts";
import type { Runpod, RunpodStatus } from "../runpod.ts";

const Due = z.object({
  id: z.string(),
  endpoint_id: z.string(),
  runpod_job_id: z.string().nullable(),
  /** The prefix of its files in the adapters bucket, and its holder's fencing token. */
  prefix: z.string(),
  fence: z.int(),
  /** How long it has waited for a worker; null once one has claimed it. */
  waiting_seconds: z.number().nullable(),
  /** Cancel it at RunPod: cancellation was requested, and no cancel was sent recently. */
  cancel: z.boolean(),
});
type Due = z.infer<typeof Due>;
/** `cancel`: cancel the run at RunPod before the attempt ends here. */
const Reconciled = z.object({ cancel: z.boolean().optional() });

const terminalStatuses = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "GONE"];

/** How many attempts one tick reconciles, concurrently. */
export const maxReconciledPerTick = 20;

/** Reconciles attempts that are due and returns their number. One that fails is due again soon. */
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
  budget.spend(due.length * price.reconcile);
  await Promise.all(
    due.map((attempt) =>
      reconcileAttempt(platform, runpod, attempt).catch((error) => logError(`attempt ${attempt.id}`, error))
    ),
  );
  return due.length;
}

async function reconcileAttempt(platform: Platform, runpod: Runpod, attempt: Due): Promise<void> {
  const { db, settings } = platform;
  const { id, endpoint_id, runpod_job_id } = attempt;
  if (attempt.cancel && runpod_job_id !== null && await runpod.cancel(endpoint_id, runpod_job_id)) {
    await rpc(db, "record_cancel_sent", { attempt_id: id });
  }
  const found: RunpodStatus = runpod_job_id === null
    ? { status: "NONE", error: null, output: null }
    : await runpod.status(endpoint_id, runpod_job_id);
  const isTerminal = terminalStatuses.includes(found.status);
  const manifest = isTerminal ? await recoverFiles(platform, attempt, found.output) : null;
  // A minute in the queue is normal; after that the user wants to know why.
  const isSlow = (attempt.waiting_seconds ?? 0) > 60 && !isTerminal;
  const status_reason = isSlow ? await runpod.queueReason(endpoint_id) : null;
  const report = (more: Record<string, boolean> = {}) =>
    rpc(db, "reconcile_attempt", {
      attempt_id: id,
      found: { ...found, manifest, status_reason, ...more },
      fault: faultOf(found.output),
      max_missed_heartbeats: settings.maxMissedHeartbeats,
    }, Reconciled);
  if ((await report()).cancel === true && runpod_job_id !== null) {
    await runpod.cancel(endpoint_id, runpod_job_id);
    await report({ cancel_tried: true });
  }
}

/**
 * Recovers the files of a run whose finish callback was lost. The handler's output or `manifest.json` in Storage lists
 * them. Returns the manifest, or null if there is none or a file is missing or damaged.
 */
async function recoverFiles(platform: Platform, attempt: Due, output: unknown): Promise<Manifest | null> {
  if (attempt.fence === 0) return null; // no worker has claimed it
  const reported = output !== null && typeof output === "object" && "manifest" in output
    ? output.manifest
    : null;
  const manifest = Manifest.safeParse(reported ?? await storedManifest(platform, attempt));
  if (!manifest.success) return null;
  for (const file of manifest.data.files) {
    const mismatch = await promoteUpload(
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
    if (mismatch !== null) {
      logError(`attempt ${attempt.id}: ${mismatch}`);
      return null;
    }
    await rpc(platform.db, "record_recovered_file", { attempt_id: attempt.id, file });
  }
  return manifest.data;
}

/** `manifest.json`, which a worker uploads last, or null. Untrusted: the caller validates it. */
async function storedManifest({ supabase }: Platform, attempt: Due): Promise<unknown> {
  const { data, error } = await supabase.storage.from(buckets.adapters).download(
    incomingObject(attempt.prefix, attempt.fence, "manifest.json"),
  );
  if (error !== null) return null; // usually because it does not exist
  try {
    return JSON.parse(await data.text());
  } catch {
    return null; // truncated
  }
}

/** Who caused the failure, according to the handler's error code; null if the code is unknown. */
function faultOf(output: unknown): string | null {
  if (output === null || typeof output !== "object" || !("error_code" in output)) return null;
  const code = TrainerErrorCode.safeParse(output.error_code);
  return code.success ? trainerFaults[code.data] : null;
}
