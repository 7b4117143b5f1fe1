/** Runs the account's endpoints: a queue with the trainer's worker, or a load balancer in front of the inference worker. */
import { marked } from "../../../stack/processes.ts";
import { join } from "../../../paths.ts";
import { cache, root } from "../../../state_dir.ts";
import { createLoadBalancer } from "../load_balancer.ts";
import { createRunpod } from "../mod.ts";
import type { Worker, WorkerOptions } from "../worker.ts";
import { workerPrice } from "./catalog.ts";
import type { Endpoint, Session } from "./schemas.ts";

export interface RunningOptions {
  home: string;
  apiKey: string;
  workerKey: string;
  /** The gateway's address. */
  url: string;
  log: (line: string) => void;
  /** Overrides the workers' environment. */
  workerEnv?: Record<string, string>;
  /** The programs that run instead of the images; by default, the repository's trainer and an inference worker for CPUs. */
  programs?: Partial<Record<Endpoint["type"], Pick<WorkerOptions, "command" | "cwd">>>;
  onSession: (session: Session) => void;
}

export interface Running {
  fetch(request: Request): Response | Promise<Response>;
  status(): { worker: Worker; state: "RUNNING" | "IDLE" | "INITIALIZING"; stale: boolean }[];
  /** Running sessions, billed as if they ended now. */
  sessions(): Session[];
  update(endpoint: Endpoint, isNewRelease: boolean): void;
  stop(): Promise<void>;
}

const trainer = join(root, "trainer");
const python = join(trainer, ".venv/bin/python");
const defaultPrograms = {
  QUEUE: { command: [python, "-u", "handler.py"], cwd: trainer },
  LOAD_BALANCER: {
    command: [python, "-u", join(root, "local/emulators/inference/server.py")],
    cwd: trainer,
  },
};

export function runEndpoint(first: Endpoint, options: RunningOptions): Running {
  const { id, type } = first;
  const { home, apiKey, workerKey, url, log, onSession } = options;
  let endpoint = first;
  const prices = new Map<string, number>();

  const worker = (): WorkerOptions => ({
    ...(options.programs?.[type] ?? defaultPrograms[type]),
    logFile: join(home, `logs/runpod-${id}.log`),
    env: {
      ...marked(home),
      ...machineEnvironment(home),
      ...onVolume(endpoint.env, join(home, "volumes", endpoint.networkVolumes[0] ?? `none-${id}`)),
      ...options.workerEnv,
    },
  });
  const usdPerHour = () => workerPrice(endpoint.gpu?.pools ?? [], endpoint.gpu?.count ?? 1);
  const session = ({ id: workerId, startedAt }: Worker): Session => ({
    endpoint: id,
    startedAt,
    endedAt: Date.now(),
    usdPerHour: prices.get(workerId) ?? usdPerHour(),
  });
  const onWorkerEnded = (ended: Worker) => {
    onSession(session(ended));
    prices.delete(ended.id);
  };
  const idleMs = () => (endpoint.workers.idleTimeout ?? 5) * 1000;
  const limits = () => ({ minWorkers: endpoint.workers.min, maxWorkers: endpoint.workers.max });

  if (type === "QUEUE") {
    const queue = createRunpod({
      endpointId: id,
      apiKey,
      workerKey,
      // The workers' requests have their endpoint in the path.
      baseUrl: `${url}/runpod/workers/${id}`,
      worker: worker(),
      ...limits(),
      idleMs: idleMs(),
      onWorkerEnded,
      log,
    });
    return {
      fetch: (request) => queue.fetch(request),
      status: queue.status,
      sessions: () => queue.status().map(({ worker }) => session(worker)),
      update(changed, isNewRelease) {
        endpoint = changed;
        queue.configure({ ...limits(), idleMs: idleMs(), ...(isNewRelease ? { worker: worker() } : {}) });
      },
      stop: queue.stop,
    };
  }
  const balancer = createLoadBalancer({
    endpointId: id,
    apiKey,
    prefix: "/runpod/lb",
    worker: worker(),
    idleMs: idleMs(),
    onWorkerEnded,
    log,
  });
  balancer.configure({ enabled: endpoint.workers.max > 0 });
  return {
    fetch: balancer.fetch,
    status: balancer.status,
    sessions: () => balancer.status().map(({ worker }) => session(worker)),
    update(changed, isNewRelease) {
      endpoint = changed;
      balancer.configure({
        idleMs: idleMs(),
        enabled: endpoint.workers.max > 0,
        ...(isNewRelease ? { worker: worker() } : {}),
      });
    },
    stop: balancer.stop,
  };
}

/** Variables that RunPod's machine or the image would set, adapted to this machine: no GPU, HTTP, no hub. */
const machineEnvironment = (home: string): Record<string, string> => ({
  PYTHONPATH: [join(root, "inference"), trainer].join(":"),
  TUNEBASE_ALLOW_LOOPBACK: "1",
  TUNEBASE_CPU_DTYPE: "auto",
  TUNEBASE_MODEL_CACHE: join(cache, "models"),
  TUNEBASE_WORK_DIR: join(home, "work"),
  TUNEBASE_ADAPTER_DIR: join(home, "inference/adapters"),
  HF_HUB_OFFLINE: "1",
  TRANSFORMERS_VERBOSITY: "error",
  HF_HUB_DISABLE_PROGRESS_BARS: "1",
  TQDM_DISABLE: "1",
});

/** Replaces paths on the network volume with paths in the volume's folder, because there is no mount. */
const onVolume = (env: Record<string, string>, folder: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).map((
      [name, value],
    ) => [name, value.replace(/^\/runpod-volume(?=\/|$)/, () => folder)]),
  );
