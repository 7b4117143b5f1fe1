/** Sends what is due to RunPod. The attempt exists before the call leaves, so that a crash in between is known. */
import * as z from "zod";
import { logError } from "../_shared/log.ts";
import { callbackUrl, webhookUrl } from "../_shared/addresses.ts";
import { rpc } from "../_shared/database/rpc.ts";
import * as rows from "../_shared/database/rows.ts";
import type { Platform } from "../_shared/platform.ts";
import { RunInput } from "../_shared/protocol.ts";
import { callbackSecret } from "../_shared/secrets.ts";
import type { Runpod } from "./runpod.ts";

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

/** Calls of /run under way at once: at 150 ms each, as many as RunPod's rate lets through. */
const mostAtOnce = 16;
const submitLeaseSeconds = 60;
/** A tick stays well inside the platform's time; what is left is due at the next. */
const tickMs = 25_000;

/** Dispatches until nothing is due, waiting where an endpoint's rate says so; returns how many were claimed. */
export async function dispatch(platform: Platform, runpod: Runpod): Promise<number> {
  const until = Date.now() + tickMs;
  const flying = new Set<Promise<void>>();
  let count = 0;
  while (Date.now() < until) {
    const { claimed, wait_seconds } = await rpc(platform.db, "claim_dispatch", {
      default_endpoint: platform.settings.runpodEndpoint,
      lease_seconds: submitLeaseSeconds,
      limit: mostAtOnce - flying.size,
    }, Claim);
    for (const one of claimed) {
      const sending: Promise<void> = submit(platform, runpod, one)
        // What went wrong here is looked at when the attempt's lease is over.
        .catch((error) => logError(`attempt ${one.attempt.id}`, error))
        .finally(() => flying.delete(sending));
      flying.add(sending);
    }
    count += claimed.length;
    if (flying.size >= mostAtOnce) await Promise.race(flying);
    // Held back by the rate. A tenth of a second's calls go out together: a claim costs what it counts, and one for each
    // job took a core at 100 a second.
    else if (wait_seconds !== null) await pause(Math.min(Math.max(wait_seconds * 1000 + 1, 100), 1000));
    else if (claimed.length > 0) continue;
    else if (flying.size > 0) await Promise.race(flying);
    else break;
  }
  await Promise.all(flying);
  return count;
}

async function submit({ db, settings }: Platform, runpod: Runpod, claimed: Claimed): Promise<void> {
  const { attempt } = claimed;
  const object = (name: string) => `${settings.supabaseUrl}/storage/v1/object/tunebase-datasets/${name}`;
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
