/** Submits due jobs to RunPod. Each attempt is recorded before the call, so that a crash in between leaves a trace. */
import { buckets } from "../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { logError } from "../../_shared/log.ts";
import { callbackUrl, webhookUrl } from "../../_shared/urls.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import * as rows from "../../_shared/database/rows.ts";
import type { Platform } from "../../_shared/platform.ts";
import { RunInput } from "../../_shared/protocol.ts";
import { isHubNamespaceAllowed } from "../../_shared/contracts/hub_repository.ts";
import { callbackSecret } from "../../_shared/secrets.ts";
import { isShuttingDown } from "../../_shared/isolate.ts";
import { CpuBudget, price } from "../cpu_budget.ts";
import type { Runpod } from "../runpod.ts";

const Claimed = z.object({
  attempt: rows.attempts().pick({
    id: true,
    job_id: true,
    number: true,
    endpoint_id: true,
    gpu_config: true,
    execution_timeout_seconds: true,
    ttl_seconds: true,
  }),
  plan: z.unknown(),
  training_object: z.string(),
  validation_object: z.string().nullable(),
});
type Claimed = z.infer<typeof Claimed>;
const Claim = z.object({ claimed: z.array(Claimed), wait_seconds: z.number().nullable() });

/**
 * Maximum concurrent calls of /run: at 150 ms each, enough for RunPod's rate limit. Jobs are claimed only if they can be
 * submitted at once, so if the isolate is killed, at most this many attempts are in an unknown state.
 */
const maxConcurrent = 16;
const submitLeaseSeconds = 60;
/** The delay before retrying an attempt whose input is invalid. */
const invalidInputRetrySeconds = 60;

/**
 * Dispatches until nothing is due or the budget is used up, and waits where an endpoint's rate limit requires it. Returns
 * the number of submitted jobs. `isEnding`: the isolate is about to end, so release what is claimed but not submitted.
 */
export async function dispatch(
  platform: Platform,
  runpod: Runpod,
  budget = new CpuBudget(),
  isEnding: () => boolean = isShuttingDown,
): Promise<number> {
  const inFlight = new Set<Promise<void>>();
  let count = 0;
  while (!budget.isOver && !isEnding()) {
    const { claimed, wait_seconds } = await claim(
      platform,
      Math.min(maxConcurrent - inFlight.size, budget.room(price.submission)),
    );
    budget.spend(price.claim + claimed.length * price.submission);
    if (isEnding()) {
      await Promise.all(
        claimed.map(({ attempt }) => rpc(platform.db, "release_dispatch", { attempt_id: attempt.id })),
      );
      break;
    }
    for (const one of claimed) {
      const sending: Promise<void> = submit(platform, runpod, one)
        // Reconciliation handles it after the attempt's lease.
        .catch((error) => logError(`attempt ${one.attempt.id}`, error))
        .finally(() => inFlight.delete(sending));
      inFlight.add(sending);
    }
    count += claimed.length;
    if (inFlight.size >= maxConcurrent) await Promise.race(inFlight);
    // Rate-limited. Waits at least 100 ms, so that one claim covers several jobs: one claim per job took a whole core at
    // 100 jobs per second.
    else if (wait_seconds !== null) await pause(Math.min(Math.max(wait_seconds * 1000 + 1, 100), 1000));
    else if (claimed.length > 0) continue;
    else if (inFlight.size > 0) await Promise.race(inFlight);
    else break;
  }
  await Promise.all(inFlight);
  return count;
}

const claim = ({ db, settings }: Platform, limit: number) =>
  rpc(db, "claim_dispatch", {
    default_endpoint: settings.runpodEndpoint,
    lease_seconds: submitLeaseSeconds,
    limit,
  }, Claim);

/** The input of /run. Throws if the job's plan or the model's GPU configuration does not match the protocol. */
function runInput({ settings }: Platform, { attempt, ...claimed }: Claimed): RunInput {
  const object = (name: string) => `${settings.supabaseUrl}/storage/v1/object/${buckets.datasets}/${name}`;
  const input = RunInput.parse({
    job_id: attempt.job_id,
    attempt: attempt.number,
    dataset_url: object(claimed.training_object),
    validation_url: claimed.validation_object === null ? null : object(claimed.validation_object),
    hyperparameters: claimed.plan,
    gpu_config: attempt.gpu_config,
    execution_timeout_seconds: attempt.execution_timeout_seconds,
    callback_url: callbackUrl(settings, attempt.id),
    callback_secret: callbackSecret(settings.masterKey, attempt.id),
  });
  const { huggingface, ...hyperparameters } = input.hyperparameters;
  // The operator may have removed the namespace since the job was created.
  return huggingface && isHubNamespaceAllowed(settings.hubNamespaces, huggingface.repo)
    ? input
    : { ...input, hyperparameters };
}

async function submit(platform: Platform, runpod: Runpod, claimed: Claimed): Promise<void> {
  const { db, settings } = platform;
  const { attempt } = claimed;
  let input: RunInput;
  try {
    input = runInput(platform, claimed);
  } catch (error) {
    // Certainly not submitted, so it does not have to wait for its lease to expire.
    logError(`attempt ${attempt.id}`, error);
    await rpc(db, "record_dispatch_rejected", {
      attempt_id: attempt.id,
      reason: "the run's input is invalid",
      retry_seconds: invalidInputRetrySeconds,
      blocked: false,
    });
    return;
  }
  const result = await runpod.run(attempt.endpoint_id, input, webhookUrl(settings, attempt.id), {
    executionTimeout: attempt.execution_timeout_seconds * 1000,
    ttl: attempt.ttl_seconds * 1000,
  });
  const attempt_id = attempt.id;
  switch (result.kind) {
    case "submitted":
      await rpc(db, "record_dispatch_submitted", { attempt_id, runpod_job_id: result.id });
      break;
    case "not_started":
      await rpc(db, "record_dispatch_rejected", {
        attempt_id,
        reason: result.reason,
        retry_seconds: result.retrySeconds,
        blocked: result.blocked,
      });
      break;
    case "refused":
      logError(`attempt ${attempt_id}: ${result.reason}`);
      await rpc(db, "record_dispatch_failed", { attempt_id, reason: result.reason });
      break;
    case "unknown":
      logError(`attempt ${attempt_id}: ${result.reason}`);
      await rpc(db, "record_dispatch_ambiguous", { attempt_id, reason: result.reason });
      break;
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
