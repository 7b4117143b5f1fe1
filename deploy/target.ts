/** The platforms' addresses: hosted, or emulators on this machine. */

export interface Target {
  name: "hosted" | "emulators";
  /** Supabase's Management API, without `/v1`. */
  supabaseApi: string;
  /** RunPod's REST API, with `/v2`. */
  runpodRest: string;
  /** RunPod's API for runs, with `/v2`: the functions' RUNPOD_API_URL. */
  runpodApi: string;
  /** The functions' TUNEBASE_INFERENCE_URL. */
  inferenceUrl: string;
  /** The project's address: Auth, Storage and functions. */
  projectUrl(ref: string): string;
  /** Extra secrets of the functions; `TUNEBASE_ALLOW_LOOPBACK` on emulators. */
  functionSecrets: Record<string, string>;
}

export const hosted: Target = {
  name: "hosted",
  supabaseApi: "https://api.supabase.com",
  runpodRest: "https://api.runpod.io/v2",
  runpodApi: "https://api.runpod.ai/v2",
  inferenceUrl: "https://{endpoint}.api.runpod.ai",
  projectUrl: (ref) => `https://${ref}.supabase.co`,
  functionSecrets: {},
};
