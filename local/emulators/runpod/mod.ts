/**
 * Emulates RunPod Serverless: the public API (`/v2/{endpoint}/…`) for clients and the pull protocol for workers, so
 * that the real SDK runs the real handler. Differs: one kind of worker on this machine, without a container; the
 * queue is lost with the process (RunPod's is not durable either); a lost worker is detected immediately by its exit.
 */
import { type Context, Hono } from "hono";
import * as z from "zod";
import { pause } from "../../stack/processes.ts";
import { Queue, type Run, shown } from "./queue.ts";
import { Worker, type WorkerOptions } from "./worker.ts";

export interface RunpodOptions {
  endpointId: string;
  apiKey: string;
  workerKey: string;
  /** The URL of `fetch`, with the prefix: `http://127.0.0.1:54321/runpod`. */
  baseUrl: string;
  worker: WorkerOptions;
  minWorkers?: number;
  maxWorkers?: number;
  /** The idle timeout after which a ready worker ends; by default, none. */
  idleMs?: number;
  /** Called once a worker has ended. */
  onWorkerEnded?: (worker: Worker) => void;
  /** Delay between attempts of a webhook; RunPod waits ten seconds. */
  webhookPauseMs?: number;
  log?: (line: string) => void;
}

/** The settings that can change while an endpoint exists. */
export type WorkerSettings = Partial<
  { worker: WorkerOptions; minWorkers: number; maxWorkers: number; idleMs: number }
>;

const day = 86_400_000;
const Body = z.object({
  input: z.record(z.string(), z.unknown()).refine(
    (input) => Object.keys(input).length > 0,
    "input must not be empty",
  ),
  webhook: z.url().optional(),
  policy: z.object({
    executionTimeout: z.number().min(5_000).max(7 * day).default(600_000),
    ttl: z.number().min(10_000).max(7 * day).default(day),
    lowPriority: z.boolean().optional(),
  }).optional(),
});
/** Requests per ten seconds. */
const limits = { run: 1000, status: 2000, cancel: 100, "purge-queue": 2 } as const;

/** The emulator as a value. `stop` ends the workers and everything they started. */
export function createRunpod(
  options: RunpodOptions,
): {
  fetch(request: Request): Response | Promise<Response>;
  stop(): Promise<void>;
  /** The workers' process ids; each leads a group. */
  workers(): number[];
  /** The workers and their states. */
  status(): { worker: Worker; state: "RUNNING" | "IDLE" | "INITIALIZING"; stale: boolean }[];
  /** Applies new settings; running workers with an older environment end as soon as they have no run. */
  configure(changes: WorkerSettings): void;
  /** Every accepted run that has not been deleted. */
  runs(): Run[];
} {
  const { log = () => {}, webhookPauseMs = 10_000, onWorkerEnded = () => {} } = options;
  const settings = {
    worker: options.worker,
    minWorkers: options.minWorkers ?? 0,
    maxWorkers: options.maxWorkers ?? 1,
    idleMs: options.idleMs ?? Infinity,
  };
  const queue = new Queue();
  const workers = new Set<Worker>();
  const stale = new Set<Worker>();
  /** The workers that this emulator ends, by id. */
  const retired = new Set<string>();
  /** When each worker first polled or ended its last run, by id; missing while it starts. */
  const idleSince = new Map<string, number>();
  const webhooks = new Set<Promise<void>>();
  const stopping = new AbortController();
  /** Notified when a run waits for a worker. */
  let wake = Promise.withResolvers<void>();
  let crashes = 0;
  let startAfter = 0;

  queue.changed = (run) => {
    wake.resolve();
    wake = Promise.withResolvers();
    if (run.status === "IN_QUEUE") scale();
    else if (run.status !== "IN_PROGRESS" && run.webhook !== null) {
      const sending = deliver(run, run.webhook).finally(() => webhooks.delete(sending));
      webhooks.add(sending);
    }
  };
  const clock = setInterval(() => {
    queue.elapse();
    endIdle();
    scale();
  }, 250);

  const isBusy = (worker: Worker) => queue.running.some((run) => run.worker === worker.id);
  function endIdle(now = Date.now()): void {
    for (const worker of workers) {
      if (retired.has(worker.id)) continue;
      if (isBusy(worker)) {
        idleSince.set(worker.id, now);
        continue;
      }
      const idleMs = now - (idleSince.get(worker.id) ?? now);
      if (!stale.has(worker) && (idleMs < settings.idleMs || workers.size <= settings.minWorkers)) continue;
      log(`runpod: worker ${worker.id} is ${stale.has(worker) ? "outdated" : "idle"} and ends`);
      retired.add(worker.id);
      void worker.stop();
    }
  }

  /** Scales from zero: starts a worker for each waiting run, up to the maximum, with a delay after crashes. */
  function scale(): void {
    if (stopping.signal.aborted || workers.size >= settings.maxWorkers || Date.now() < startAfter) return;
    if (queue.waiting.length === 0 && workers.size >= settings.minWorkers) return;
    const worker = new Worker(
      settings.worker,
      options.endpointId,
      queueEnvironment(options.baseUrl, options.workerKey),
    );
    log(`runpod: worker ${worker.id} started (pid ${worker.pid})`);
    workers.add(worker);
    worker.ended.then((lived) => {
      workers.delete(worker);
      stale.delete(worker);
      idleSince.delete(worker.id);
      onWorkerEnded(worker);
      const ended = retired.delete(worker.id);
      crashes = lived < 5_000 && !ended ? crashes + 1 : 0;
      startAfter = crashes === 0 ? 0 : Date.now() + Math.min(60_000, 500 * 2 ** crashes);
      if (!stopping.signal.aborted) log(`runpod: worker ${worker.id} ended after ${lived} ms`);
      queue.workerLost(worker.id);
    });
  }

  async function deliver(run: Run, url: string): Promise<void> {
    const body = JSON.stringify({ ...shown(run), input: run.input, webhook: url });
    for (let tries = 0; tries < 3; tries++) {
      if (tries > 0) {
        for (let waited = 0; waited < webhookPauseMs && !stopping.signal.aborted; waited += 50) {
          await pause(50);
        }
      }
      if (stopping.signal.aborted) return;
      try {
        const response = await fetch(url, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body,
          signal: AbortSignal.any([stopping.signal, AbortSignal.timeout(10_000)]),
        });
        await response.body?.cancel();
        if (response.status === 200) return;
        log(`runpod: webhook responded with ${response.status}`);
      } catch (error) {
        if (!stopping.signal.aborted) log(`runpod: webhook: ${error}`);
      }
    }
  }

  const app = new Hono().basePath("/runpod");
  const seen = new Map<string, number[]>();
  const tooMany = (name: keyof typeof limits) => {
    const now = Date.now();
    const recent = (seen.get(name) ?? []).filter((time) => time > now - 10_000);
    seen.set(name, [...recent, now]);
    return recent.length >= limits[name];
  };

  app.use("/v2/:endpoint/*", async function authorise(c, next) {
    if (c.req.header("authorization") !== `Bearer ${options.apiKey}`) {
      return c.json({ error: "unauthorized" }, 401);
    }
    if (c.req.param("endpoint") !== options.endpointId) return c.json({ error: "endpoint not found" }, 404);
    const name = new URL(c.req.url).pathname.split("/")[4] ?? "";
    if (name in limits && tooMany(name as keyof typeof limits)) {
      return c.json({ error: "too many requests" }, 429, { "retry-after": "10" });
    }
    await next();
  });
  const submit = async (c: Context): Promise<Run | Response> => {
    const text = await c.req.text();
    if (text.length > 10 * 2 ** 20) return c.json({ error: "request body is larger than 10MB" }, 413);
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      return c.json({ error: "the body is not JSON" }, 400);
    }
    const body = Body.safeParse(json);
    if (!body.success) return c.json({ error: z.prettifyError(body.error) }, 400);
    const { executionTimeout = 600_000, ttl = day } = body.data.policy ?? {};
    return queue.add(body.data.input, body.data.webhook ?? null, { executionTimeout, ttl });
  };
  app.post("/v2/:endpoint/run", async (c) => {
    const run = await submit(c);
    return run instanceof Response ? run : c.json({ id: run.id, status: run.status });
  });
  app.post("/v2/:endpoint/runsync", async (c) => {
    const run = await submit(c);
    if (run instanceof Response) return run;
    const until = Date.now() + Math.min(Number(c.req.query("wait") ?? 90_000), 300_000);
    while (Date.now() < until && ["IN_QUEUE", "IN_PROGRESS"].includes(run.status)) await pause(50);
    return c.json(shown(run));
  });
  const found = (c: Context) => queue.get(c.req.param("id") ?? "");
  app.get("/v2/:endpoint/status/:id", (c) => {
    const run = found(c);
    return run === undefined ? c.json({ error: "job not found" }, 404) : c.json(shown(run));
  });
  app.post("/v2/:endpoint/cancel/:id", (c) => {
    const run = found(c);
    if (run === undefined) return c.json({ error: "job not found" }, 404);
    queue.cancel(run);
    return c.json({ id: run.id, status: run.status });
  });
  app.post("/v2/:endpoint/retry/:id", (c) => {
    const run = found(c);
    if (run === undefined) return c.json({ error: "job not found" }, 404);
    return queue.retry(run)
      ? c.json({ id: run.id, status: run.status })
      : c.json({ error: "only failed jobs" }, 400);
  });
  app.post("/v2/:endpoint/purge-queue", (c) => c.json({ removed: queue.purge(), status: "completed" }));
  app.get("/v2/:endpoint/health", (c) => {
    const busy = queue.running.length;
    return c.json({
      jobs: {
        completed: queue.count("COMPLETED"),
        failed: queue.count("FAILED"),
        inProgress: busy,
        inQueue: queue.waiting.length,
        retried: queue.running.filter((run) => run.retries > 0).length,
      },
      workers: {
        idle: Math.max(0, workers.size - busy),
        running: busy,
        initializing: 0,
        ready: workers.size,
        throttled: 0,
        unhealthy: crashes > 1 && workers.size === 0 ? 1 : 0,
      },
    });
  });

  // --- the workers' side
  for (const path of ["/job-take/*", "/job-stop/*", "/job-done/*", "/job-stream/*", "/ping/*"]) {
    app.use(path, async function authoriseWorker(c, next) {
      const key = c.req.header("authorization")?.replace(/^Bearer /, "");
      if (key !== options.workerKey) return c.json({ error: "unauthorized" }, 401);
      await next();
    });
  }
  /** Long poll: returns once `check` finds something, or after a few seconds. */
  async function poll<T>(check: () => T | undefined): Promise<T | undefined> {
    const until = Date.now() + 8_000;
    while (!stopping.signal.aborted) {
      const something = check();
      if (something !== undefined || Date.now() > until) return something;
      await Promise.race([wake.promise, pause(200)]);
    }
  }
  // Not for a worker that has ended, whose last poll may still be open.
  const canTake = (id: string) =>
    !retired.has(id) && [...workers].some((worker) => worker.id === id && !stale.has(worker));
  app.get("/job-take/:worker", async (c) => {
    const worker = c.req.param("worker");
    if (!idleSince.has(worker)) idleSince.set(worker, Date.now());
    const run = await poll(() => canTake(worker) ? queue.take(worker) : undefined);
    return run === undefined ? c.body(null, 204) : c.json({ id: run.id, input: run.input });
  });
  app.get("/job-stop/:worker", async (c) => {
    const ids = await poll(() => {
      const stops = queue.takeStops(c.req.param("worker"));
      return stops.length > 0 ? stops : undefined;
    });
    return ids === undefined ? c.body(null, 204) : c.json({ jobsToStop: ids });
  });
  const take = async (c: Context) => {
    // The SDK sends JSON with a form's content type.
    const body: unknown = JSON.parse(await c.req.text());
    if (body !== null && typeof body === "object") {
      queue.post(c.req.param("worker") ?? "", c.req.param("id") ?? "", { ...body });
    }
    return c.json({ ok: true });
  };
  app.post("/job-done/:worker/:id", take);
  app.post("/job-stream/:worker/:id", take);
  app.get("/ping/:worker", (c) => c.text("ok"));

  return {
    fetch: app.fetch,
    workers: () => [...workers].flatMap((worker) => worker.pid ?? []),
    status: () =>
      [...workers].map((worker) => ({
        worker,
        state: isBusy(worker) ? "RUNNING" : idleSince.has(worker.id) ? "IDLE" : "INITIALIZING",
        stale: stale.has(worker),
      })),
    configure: ({ worker, ...changes }) => {
      Object.assign(settings, changes);
      if (worker === undefined) return;
      settings.worker = worker;
      for (const running of workers) stale.add(running);
    },
    runs: () => queue.all,
    stop: async () => {
      stopping.abort();
      clearInterval(clock);
      wake.resolve();
      await Promise.all([...workers].map((worker) => worker.stop()));
      await Promise.all(webhooks);
    },
  };
}

/** The environment of a queue endpoint's worker, which points the SDK to this emulator. */
function queueEnvironment(baseUrl: string, key: string): Record<string, string> {
  return {
    RUNPOD_AI_API_KEY: key,
    RUNPOD_WEBHOOK_GET_JOB: `${baseUrl}/job-take/$ID?gpu=none`,
    RUNPOD_WEBHOOK_POST_OUTPUT: `${baseUrl}/job-done/$RUNPOD_POD_ID/$ID?gpu=none`,
    RUNPOD_WEBHOOK_POST_STREAM: `${baseUrl}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none`,
    RUNPOD_WEBHOOK_PING: `${baseUrl}/ping/$RUNPOD_POD_ID`,
    RUNPOD_PING_INTERVAL: "10000",
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true",
    RUNPOD_SKIP_GPU_CHECK: "true",
    RUNPOD_LOG_LEVEL: "INFO",
  };
}
