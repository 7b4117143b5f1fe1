/** Sends what is due to RunPod. The attempt exists before the call leaves, so that a crash in between is known. */
import { callbackUrl, webhookUrl } from "../_shared/addresses.ts";
import { call } from "../_shared/database.ts";
import type { Tables } from "../_shared/database.types.ts";
import type { Platform } from "../_shared/platform.ts";
import { RunInput } from "../_shared/protocol.ts";
import { callbackSecret } from "../_shared/secrets.ts";
import type { Runpod } from "./runpod.ts";

interface Claimed {
  attempt: Tables<"attempts">;
  plan: unknown;
  training_object: string;
  validation_object: string | null;
}

/** A tick stays well inside the platform's time; what is left is due at the next. */
const mostPerTick = 50;
const submitLeaseSeconds = 60;

/** Dispatches until nothing is due; returns how many were claimed. */
export async function dispatch(platform: Platform, runpod: Runpod): Promise<number> {
  for (let count = 0; count < mostPerTick; count++) {
    const claimed = await call<Claimed | null>(
      platform.sql,
      "claim_dispatch",
      platform.settings.runpodEndpoint,
      submitLeaseSeconds,
    );
    if (claimed === null) return count;
    await submit(platform, runpod, claimed);
  }
  return mostPerTick;
}

async function submit({ sql, settings }: Platform, runpod: Runpod, claimed: Claimed): Promise<void> {
  const { attempt } = claimed;
  const object = (name: string) => `${settings.supabaseUrl}/storage/v1/object/datasets/${name}`;
  const input = RunInput.parse({
    job_id: attempt.job_id,
    attempt: attempt.number,
    dataset_url: object(claimed.training_object),
    validation_url: claimed.validation_object === null ? null : object(claimed.validation_object),
    hyperparameters: claimed.plan,
    gpu_config: attempt.gpu_config,
    callback_url: callbackUrl(settings, attempt.id),
    callback_secret: await callbackSecret(settings.masterKey, attempt.id),
  });
  const result = await runpod.run(attempt.endpoint_id, input, await webhookUrl(settings, attempt.id), {
    executionTimeout: attempt.execution_timeout_seconds * 1000,
    ttl: attempt.ttl_seconds * 1000,
  });
  switch (result.kind) {
    case "submitted":
      return await call(sql, "dispatch_submitted", attempt.id, result.id);
    case "not_started":
      return await call(sql, "dispatch_not_started", attempt.id, result.reason, result.retrySeconds);
    case "refused":
      console.error(`attempt ${attempt.id}: ${result.reason}`);
      return await call(sql, "dispatch_refused", attempt.id, result.reason);
    case "unknown":
      console.error(`attempt ${attempt.id}: ${result.reason}`);
      return await call(sql, "dispatch_unknown", attempt.id, result.reason);
  }
}
