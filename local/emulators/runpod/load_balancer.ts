/**
 * Emulates a RunPod load-balancing endpoint: requests of any path go directly to a worker's HTTP server, without a queue or
 * retries. Scales to zero: the first request starts the worker, and an idle timeout ends it. Implements the health check
 * (`GET /ping`: 200 healthy, 204 loading), 400 if no worker is healthy within two minutes, 524 after 5.5 minutes of
 * processing, 413 above 30 MB, 502 if the worker dies, and `X-Runpod-Worker-Id` on workers' responses. Differs: at most one
 * worker, so the header does not pin requests; error texts are invented, because RunPod does not document them.
 */
import { abortable } from "../../../supabase/functions/_shared/abortable.ts";
import { pause } from "../../stack/processes.ts";
import { once, watched } from "../watched_body.ts";
import { Worker, type WorkerOptions } from "./worker.ts";

export interface LoadBalancerOptions {
  endpointId: string;
  apiKey: string;
  /** The path before the endpoint's id, such as `/runpod/lb`; RunPod has a host name for each endpoint. */
  prefix: string;
  /** Listens on the port in `PORT`. */
  worker: WorkerOptions;
  /** The idle timeout after which the worker ends. */
  idleMs: number;
  /** How long a request waits for a healthy worker. */
  startMs?: number;
  /** How long a worker may process a request. */
  requestMs?: number;
  maxBodyBytes?: number;
  log?: (line: string) => void;
  /** Called once a worker has ended. */
  onWorkerEnded?: (worker: Worker) => void;
}

export interface LoadBalancer {
  fetch(request: Request): Promise<Response>;
  /** The worker and its state; none while the endpoint is scaled to zero. */
  status(): { worker: Worker; state: "RUNNING" | "IDLE" | "INITIALIZING"; stale: boolean }[];
  /** Applies new settings; a running worker with an older environment ends as soon as it has no request. */
  configure(changes: { worker?: WorkerOptions; idleMs?: number; enabled?: boolean }): void;
  /** The workers' process ids; each leads a group. */
  workers(): number[];
  stop(): Promise<void>;
}

/** A worker and the requests that it is processing. */
interface Running {
  worker: Worker;
  port: number;
  /** Resolves with whether it became healthy; false once it has ended. */
  healthy: Promise<boolean>;
  inFlight: number;
  lastUsed: number;
  isHealthy: boolean;
  isStale: boolean;
}

const probeMs = 100;

export function createLoadBalancer(options: LoadBalancerOptions): LoadBalancer {
  const { log = () => {}, startMs = 120_000, requestMs = 330_000, maxBodyBytes = 30e6 } = options;
  const { onWorkerEnded = () => {} } = options;
  const settings = { worker: options.worker, idleMs: options.idleMs, enabled: true };
  const stopping = new AbortController();
  let running: Running | null = null;
  let crashes = 0;
  let startAfter = 0;

  const idle = setInterval(() => {
    if (running === null || running.inFlight > 0) return;
    if (!running.isStale && Date.now() - running.lastUsed < settings.idleMs) return;
    retire(running);
  }, Math.min(1000, options.idleMs));

  function retire({ worker, isStale }: Running): void {
    log(`runpod: inference worker ${worker.id} is ${isStale ? "outdated" : "idle"} and ends`);
    void worker.stop();
    running = null;
  }

  function start(): Running {
    const port = freePort();
    const worker = new Worker(settings.worker, options.endpointId, { PORT: `${port}` });
    log(`runpod: inference worker ${worker.id} started (pid ${worker.pid})`);
    const started: Running = {
      worker,
      port,
      healthy: probe(worker, port),
      inFlight: 0,
      lastUsed: Date.now(),
      isHealthy: false,
      isStale: false,
    };
    void started.healthy.then((healthy) => started.isHealthy = healthy);
    void worker.ended.then((lived) => {
      onWorkerEnded(worker);
      if (running !== started) return; // it was stopped because it was idle
      running = null;
      crashes = lived < 5_000 ? crashes + 1 : 0;
      startAfter = crashes === 0 ? 0 : Date.now() + Math.min(60_000, 500 * 2 ** crashes);
      if (!stopping.signal.aborted) log(`runpod: inference worker ${worker.id} crashed after ${lived} ms`);
    });
    return started;
  }

  async function probe(worker: Worker, port: number): Promise<boolean> {
    while (!worker.gone) {
      try {
        const response = await fetch(`http://127.0.0.1:${port}/ping`, { signal: AbortSignal.timeout(5000) });
        await response.body?.cancel();
        if (response.status === 200) return true;
      } catch {
        // Not listening yet.
      }
      await pause(probeMs);
    }
    return false;
  }

  /** Acquires a healthy worker for a request; null if there is none in time, or if the client disconnects. */
  async function acquire(client: AbortSignal): Promise<Running | null> {
    const until = Date.now() + startMs;
    while (Date.now() < until && !client.aborted && !stopping.signal.aborted) {
      if (running === null && Date.now() < startAfter) {
        await pause(probeMs);
        continue;
      }
      if (!settings.enabled) {
        await pause(probeMs);
        continue;
      }
      if (running?.isStale === true && running.inFlight === 0) retire(running);
      const candidate = running ??= start();
      candidate.inFlight += 1; // a worker with a waiting request is not idle
      const late = Promise.withResolvers<false>();
      const giveUp = () => late.resolve(false);
      const timer = setTimeout(giveUp, until - Date.now());
      const signals = [client, stopping.signal];
      for (const signal of signals) signal.addEventListener("abort", giveUp);
      const healthy = await Promise.race([candidate.healthy, late.promise]);
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener("abort", giveUp);
      if (healthy) return candidate;
      release(candidate);
    }
    return null;
  }

  function release(held: Running): void {
    held.inFlight -= 1;
    held.lastUsed = Date.now();
  }

  async function forward(request: Request, body: Uint8Array<ArrayBuffer> | null): Promise<Response> {
    const held = await acquire(request.signal);
    if (held === null) {
      return Response.json({ error: "no healthy worker became available in time" }, { status: 400 });
    }
    const url = new URL(request.url);
    const path = url.pathname.slice(`${options.prefix}/${options.endpointId}`.length) || "/";
    const headers = new Headers(request.headers);
    for (const name of ["host", "content-length", "connection", "transfer-encoding"]) headers.delete(name);
    const ended = new AbortController();
    const timer = setTimeout(() => ended.abort("timeout"), requestMs);
    const leave = () => ended.abort("the client has disconnected");
    request.signal.addEventListener("abort", leave);
    const done = once(() => {
      clearTimeout(timer);
      // Deno also aborts it after a complete response, and warns if there is a listener.
      request.signal.removeEventListener("abort", leave);
      release(held);
    });
    try {
      const answer = abortable(
        await fetch(`http://127.0.0.1:${held.port}${path}${url.search}`, {
          method: request.method,
          headers,
          body,
          redirect: "manual",
          signal: ended.signal,
        }),
        ended.signal,
      );
      const { status } = answer;
      const passed = new Headers(answer.headers);
      passed.set("x-runpod-worker-id", held.worker.id);
      if (answer.body === null) {
        done();
        return new Response(null, { status, headers: passed });
      }
      return new Response(watched(answer.body, done), { status, headers: passed });
    } catch (error) {
      done();
      if (ended.signal.reason === "timeout") {
        return html(524, "A timeout occurred");
      }
      log(`runpod: inference worker ${held.worker.id}: ${error instanceof Error ? error.message : error}`);
      // A dying process closes its connections before its exit is noticed. The next request must not use it.
      await Promise.race([held.worker.ended, pause(1000)]);
      return html(502, "Bad gateway");
    }
  }

  return {
    async fetch(request) {
      if (request.headers.get("authorization") !== `Bearer ${options.apiKey}`) {
        return Response.json({ error: "unauthorized" }, { status: 401 });
      }
      const path = new URL(request.url).pathname;
      if (!`${path}/`.startsWith(`${options.prefix}/${options.endpointId}/`)) {
        return Response.json({ error: "endpoint not found" }, { status: 404 });
      }
      const body = request.body === null ? null : await readBody(request.body, maxBodyBytes);
      if (body === "too large") {
        return Response.json({ error: "request body is larger than 30MB" }, { status: 413 });
      }
      return await forward(request, body);
    },
    status: () =>
      running === null ? [] : [{
        worker: running.worker,
        state: !running.isHealthy ? "INITIALIZING" : running.inFlight > 0 ? "RUNNING" : "IDLE",
        stale: running.isStale,
      }],
    configure: (changes) => {
      Object.assign(settings, changes);
      if (changes.worker !== undefined && running !== null) running.isStale = true;
    },
    workers: () => running?.worker.pid === undefined ? [] : [running.worker.pid],
    async stop() {
      stopping.abort();
      clearInterval(idle);
      const { worker } = running ?? {};
      running = null;
      await worker?.stop();
    },
  };
}

/** Reads the whole body, because a request may wait for a worker longer than its client keeps sending. */
async function readBody(
  body: ReadableStream<Uint8Array>,
  limit: number,
): Promise<Uint8Array<ArrayBuffer> | "too large"> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limit) return "too large";
    chunks.push(chunk);
  }
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}

/** A response like those of the proxies in front of RunPod. */
function html(status: number, title: string): Response {
  return new Response(`<html><head><title>${status} ${title}</title></head><body>${title}</body></html>`, {
    status,
    headers: { "content-type": "text/html; charset=UTF-8" },
  });
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}
