/** The addresses at which Tunebase's functions find each other. */
import type { Settings } from "./platform.ts";
import { deriveSecret } from "./secrets.ts";

/** Where the worker of an attempt calls back. */
export function callbackUrl(settings: Settings, attemptId: string): string {
  return `${settings.supabaseUrl}/functions/v1/tunebase-callback/attempts/${attemptId}`;
}

/** Where RunPod's webhook of an attempt goes: unsigned, hence with a token that nobody can guess. */
export function webhookUrl(settings: Settings, attemptId: string): string {
  const token = deriveSecret(settings.masterKey, `runpod-webhook/${attemptId}`);
  return `${settings.supabaseUrl}/functions/v1/tunebase-callback/runpod/${attemptId}/${token}`;
}

/** Wakes the scheduler now. A hint: the timer would come anyway. */
export async function wakeScheduler(settings: Settings): Promise<void> {
  const response = await fetch(`${settings.supabaseUrl}/functions/v1/tunebase-scheduler/tick`, {
    method: "POST",
    headers: { authorization: `Bearer ${deriveSecret(settings.masterKey, "scheduler")}` },
    signal: AbortSignal.timeout(10_000),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`the scheduler answered ${response.status} to a nudge`);
}
