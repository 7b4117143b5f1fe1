/**
 * Runs an edge function in isolates, each its own process with the platform's environment variables and ours. One isolate
 * accepts new requests. Under the platform's limits (see `limits.ts`) it retires, and the next one starts in time;
 * without limits it runs until it crashes, and is restarted.
 */
import { root } from "../../state_dir.ts";
import { Isolate, type IsolateSource, type Killed } from "./isolate.ts";
import type { IsolateLimits } from "./limits.ts";
import { runtimePath } from "./control_path.ts";
import { join } from "../../paths.ts";
import { pause } from "../../stack/processes.ts";

export interface EdgeFunction {
  name: string;
  /** The current port of the isolate that accepts new requests. Requests sent there directly do not count as in flight. */
  readonly port: number;
  /** The current process ids of its isolates: the active one, the next one, and those that are finishing. */
  pids(): number[];
  /** Sends a request as the platform's gateway does; `path` begins with `/<name>`. Never rejects. */
  fetch(request: Request, path: string): Promise<Response>;
  stop(): Promise<void>;
  /** Stops once its requests and `waitUntil` work are done, after `ms` at the latest. */
  drain(ms: number): Promise<void>;
}

export interface FunctionOptions {
  /** A program other than `supabase/functions/<name>/index.ts`. */
  script?: string;
  /** None unless given. */
  limits?: IsolateLimits | null;
  /** Options of `deno run` that say how the program's imports resolve; by default the repository's `deno.json`. */
  resolution?: string[];
}

/** How often isolates are metered. */
const meterMs = 50;
/** After this time without a request, a retired isolate is replaced only when the next request arrives. */
const idleMs = 10_000;

/** Starts it and waits until it responds. Its output goes to `logFile`. */
export async function startFunction(
  name: string,
  env: Record<string, string>,
  logFile: string,
  options: FunctionOptions = {},
): Promise<EdgeFunction> {
  const pool = createPool(name, env, logFile, options);
  try {
    await pool.taking();
    return pool;
  } catch {
    await pool.stop();
    throw new Error(`The function ${name} did not start. See ${logFile}`);
  }
}

function createPool(
  name: string,
  env: Record<string, string>,
  logFile: string,
  { script = join(root, "supabase/functions", name, "index.ts"), limits = null, resolution }: FunctionOptions,
): Isolates {
  return new Isolates({
    name,
    script,
    env,
    logFile,
    limits,
    ...(resolution === undefined ? {} : { resolution }),
  });
}

/** A function without a process yet. As on the platform, the first request starts one. */
export const createFunction: (...parameters: Parameters<typeof createPool>) => EdgeFunction = createPool;

class Isolates implements EdgeFunction {
  readonly #client = Deno.createHttpClient({ poolMaxIdlePerHost: 16 });
  readonly #all = new Set<Isolate>();
  readonly #meter: ReturnType<typeof setInterval> | undefined;
  /** The isolate that accepts new requests; null until the first request. */
  #current: Promise<Isolate> | null = null;
  #ready: Isolate | null = null;
  /** The isolate that takes over next. */
  #next: Promise<Isolate> | null = null;
  /** The same, once it has started. */
  #spare: Isolate | null = null;
  #backoffMs = 0;
  #lastRequest = performance.now();
  #stopped = false;

  constructor(private readonly source: IsolateSource) {
    const { limits } = source;
    if (limits !== null) this.#meter = setInterval(() => this.#enforce(limits), meterMs);
  }

  get name(): string {
    return this.source.name;
  }
  get port(): number {
    return this.#ready?.port ?? 0;
  }
  pids(): number[] {
    return [...this.#all].map(({ pid }) => pid);
  }

  /** The isolate that accepts new requests, started if necessary. Rejects if none starts within 20 s. */
  async taking(): Promise<Isolate> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error("it does not start")), 20_000);
    try {
      for (;;) {
        const taken = this.#current ??= this.#takeNext();
        const isolate = await Promise.race([taken, late.promise]);
        if (isolate.isAlive && !isolate.retired) return isolate;
        if (this.#current === taken) this.#current = null;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async fetch(request: Request, path: string): Promise<Response> {
    this.#lastRequest = performance.now();
    if (path.includes(runtimePath)) return new Response(null, { status: 404 });
    let isolate: Isolate | null = null;
    try {
      isolate = await this.taking();
      return await firstByte(isolate.forward(request, path), this.source.limits?.firstByteMs ?? null);
    } catch (error) {
      return noAnswer(this.name, isolate?.killed ?? null, error);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#meter);
    // An isolate that is still starting checks this and stops.
    while (this.#all.size > 0) {
      const all = [...this.#all];
      for (const isolate of all) isolate.kill(null);
      await Promise.all(all.map(({ ended }) => ended));
      await pause(0);
    }
    this.#client.close();
  }

  async drain(ms: number): Promise<void> {
    const isBusy = async (isolate: Isolate) => isolate.inFlight > 0 || await isolate.pending() > 0;
    for (const end = performance.now() + ms; performance.now() < end; await pause(meterMs)) {
      const busy = await Promise.all([...this.#all].filter(({ isReady }) => isReady).map(isBusy));
      if (!busy.includes(true)) break;
    }
    await this.stop();
  }

  #takeNext(): Promise<Isolate> {
    const taking = (this.#next ?? this.#start()).then((isolate) => this.#ready = isolate);
    this.#next = null;
    this.#spare = null;
    taking.catch(() => {}); // the callers that await it get the error
    return taking;
  }

  /** Starts one, retrying until it is up. */
  async #start(): Promise<Isolate> {
    for (;;) {
      await pause(this.#backoffMs);
      if (this.#stopped) throw new Error("the function is stopped");
      const isolate = new Isolate(this.source, this.#client);
      this.#all.add(isolate);
      void isolate.ended.then(({ code }) => this.#ended(isolate, code));
      if (await isolate.start()) return isolate;
      isolate.kill(null);
      await isolate.ended;
      this.#backOff();
    }
  }

  #backOff(): void {
    this.#backoffMs = Math.min(Math.max(200, this.#backoffMs * 2), 10_000);
  }

  #ended(isolate: Isolate, code: number): void {
    this.#all.delete(isolate);
    if (this.#stopped) return;
    if (isolate.killed !== null) this.#log(`was killed: its limit of ${isolate.killed} was reached`);
    else if (!isolate.retired) {
      this.#log(`ended with ${code}; starting it again`);
      if (isolate.ageMs > 10_000) this.#backoffMs = 0; // it had started successfully
      else if (isolate.isReady) this.#backOff();
    }
    if (isolate === this.#ready) this.#replace();
    if (isolate === this.#spare) this.#next = this.#spare = null;
  }

  /** Switches to the next isolate; after an idle time, the next request starts one instead. */
  #replace(): void {
    this.#ready = null;
    this.#current = null;
    const isIdle = performance.now() - this.#lastRequest > idleMs;
    if (this.source.limits === null || this.#next !== null || !isIdle) this.#current = this.#takeNext();
  }

  #enforce(limits: IsolateLimits): void {
    for (const isolate of this.#all) {
      if (!isolate.isAlive || !isolate.isReady || isolate.killed !== null) continue;
      const cpuMs = isolate.cpuMs();
      const { ageMs } = isolate;
      const killed = overLimit(limits, cpuMs, ageMs, isolate);
      if (killed !== null) isolate.kill(killed);
      else if (ageMs >= 0.9 * limits.wallMs) isolate.announceEnd();
      if (isolate.retired) void this.#dropIfDone(isolate);
      if (isolate !== this.#ready) continue;
      if (cpuMs >= limits.softCpuMs || ageMs >= limits.wallMs / 2 || killed !== null) {
        isolate.retired = true;
        if (killed === null) {
          this.#log(
            `retired after ${cpuMs} ms of CPU and ${(ageMs / 1000).toFixed(0)} s; it finishes what it has`,
          );
        }
        this.#replace();
      } else if (cpuMs >= limits.softCpuMs / 2) this.#prepare();
    }
  }

  /** Starts the isolate that will take over, so that no request waits for it. */
  #prepare(): void {
    if (this.#next !== null) return;
    const next = this.#start();
    this.#next = next;
    next.then((isolate) => {
      if (this.#next === next) this.#spare = isolate;
    }).catch(() => {}); // the function is stopped
  }

  /** Ends a retired isolate once it has finished its work. */
  async #dropIfDone(isolate: Isolate): Promise<void> {
    if (isolate.inFlight > 0 || await isolate.pending() > 0 || isolate.inFlight > 0) return;
    isolate.kill(null);
  }

  #log(line: string): void {
    Deno.writeTextFileSync(this.source.logFile, `${this.name} ${line}\n`, { append: true });
  }
}

function overLimit(limits: IsolateLimits, cpuMs: number, ageMs: number, isolate: Isolate): Killed | null {
  if (cpuMs >= limits.hardCpuMs) return "cpu";
  if (isolate.memoryMb() >= limits.memoryMb) return "memory";
  return ageMs >= limits.wallMs ? "wall_clock" : null;
}

/** The response, or 504 if its headers have not arrived in time. A late response is dropped. */
async function firstByte(answer: Promise<Response>, ms: number | null): Promise<Response> {
  if (ms === null) return await answer;
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), ms);
  try {
    const first = await Promise.race([answer, late.promise]);
    if (first !== null) return first;
    answer.then((response) => response.body?.cancel()).catch(() => {});
    return Response.json({
      code: "IDLE_TIMEOUT",
      message: `The function sent nothing within ${ms / 1000} s.`,
    }, { status: 504 });
  } finally {
    clearTimeout(timer);
  }
}

/** The platform's status if a limit ended the function; 503 if it does not respond for another reason. */
function noAnswer(name: string, killed: Killed | null, error: unknown): Response {
  if (killed === null) {
    return Response.json({
      code: "WORKER_ERROR",
      message: `The function ${name} does not respond: ${error}`,
    }, { status: 503 });
  }
  return Response.json({
    code: "WORKER_LIMIT",
    message: `The function ${name} was killed: its limit of ${killed} was reached.`,
  }, { status: 546 });
}
