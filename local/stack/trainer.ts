/** The stack's trainer endpoint: RunPod's queue, emulated, in front of the real worker. */
import { createRunpod, type RunpodOptions } from "../emulators/runpod/mod.ts";
import { join } from "../paths.ts";
import { cache, root } from "../state_dir.ts";
import type { Keys } from "./keys.ts";
import { marked } from "./processes.ts";

interface Options {
  home: string;
  keys: Keys;
  /** The gateway's address; RunPod is below `/runpod`. */
  url: string;
  log: (line: string) => void;
  maxWorkers?: number;
  worker?: Partial<RunpodOptions["worker"]>;
  env?: Record<string, string>;
}

/** Starts no worker: the first run does. */
export function trainerEndpoint({ home, keys, url, log, maxWorkers, worker, env }: Options) {
  const trainer = join(root, "trainer");
  return createRunpod({
    endpointId: "local",
    ...(maxWorkers === undefined ? {} : { maxWorkers }),
    apiKey: keys.runpodKey,
    workerKey: keys.workerKey,
    baseUrl: `${url}/runpod`,
    worker: {
      command: [join(trainer, ".venv/bin/python"), "-u", "handler.py"],
      cwd: trainer,
      logFile: join(home, "logs/worker.log"),
      ...worker,
      env: {
        ...marked(home),
        TUNEBASE_ALLOW_LOOPBACK: "1",
        TUNEBASE_CPU_DTYPE: "auto",
        TUNEBASE_MODEL_CACHE: join(cache, "models"),
        TUNEBASE_WORK_DIR: join(home, "work"),
        HF_HUB_OFFLINE: "1",
        ...env,
      },
    },
    log,
  });
}
