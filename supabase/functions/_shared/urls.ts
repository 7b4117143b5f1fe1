/** The URLs at which Tunebase's functions call each other. */
import type { Settings } from "./platform.ts";
import { deriveSecret } from "./secrets.ts";

/** The callback URL of an attempt's worker. */
export function callbackUrl(settings: Settings, attemptId: string): string {
  return `${settings.supabaseUrl}/functions/v1/tunebase-callback/attempts/${attemptId}`;
}

/** The webhook URL of an attempt. RunPod does not sign webhooks, so the URL holds an unguessable token. */
export function webhookUrl(settings: Settings, attemptId: string): string {
  const token = deriveSecret(settings.masterKey, `runpod-webhook/${attemptId}`);
  return `${settings.supabaseUrl}/functions/v1/tunebase-callback/runpod/${attemptId}/${token}`;
}
