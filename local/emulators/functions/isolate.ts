/** One process that serves an edge function. `mod.ts` decides when to start, retire and kill it. */
import { freePort, root } from "../../state_dir.ts";
import { watched } from "../watched_body.ts";
import { runtimePath } from "./control_path.ts";
import type { IsolateLimits } from "./limits.ts";
import { fromFileUrl, join } from "../../paths.ts";
import { pause, signal } from "../../stack/processes.ts";

/** The limit that an isolate was killed at. */
export type Killed = "cpu" | "memory" | "wall_clock";

/**
 * Executes the program with its output appended to a file. With a pipe, each log line woke this process, which cost a
 * callback 15 % of its time.
 */
const toFile = 'log=$1; shift; exec "$@" >>"$log" 2>&1';

/** The kernel counts CPU in ticks of 10 ms (`getconf CLK_TCK`, 100 on every Linux that Deno supports). */
const tickMs = 10;

/** Anonymous memory of an idle Deno process (measured, Deno 2.9.6), which does not count as the function's own. */
const emptyProcessMb = 27;

export interface IsolateSource {
  name: string;
  script: string;
  env: Record<string, string>;
  logFile: string;
  limits: IsolateLimits | null;
  /** Options of `deno run` that control how imports resolve; by default, the repository's `deno.json`. */
  resolution?: string[];
}

export class Isolate {
  readonly port = freePort(0, "");
  readonly born = performance.now();
  readonly ended: Promise<Deno.CommandStatus>;
  /** The limit that it was killed at; null if it is running or ended otherwise. */
  killed: Killed | null = null;
  /** It has answered a request. */
  isReady = false;
  /** It accepts no new requests. */
  retired = false;
  /** Requests whose response has not been read completely. */
  inFlight = 0;
  readonly #child: Deno.ChildProcess;
  #exited = false;
  #bootCpuMs = 0;
  #announced = false;

  constructor(readonly source: IsolateSource, private readonly client: Deno.HttpClient) {
    const { env, logFile, script, limits } = source;
    const resolution = source.resolution ?? [`--config=${join(root, "deno.json")}`];
    const limited = limits === null ? [] : [
      `--preload=${fromFileUrl(new URL("./runtime.ts", import.meta.url))}`,
      // V8 collects more aggressively near the limit, as under the platform's heap limit.
      `--v8-flags=--max-heap-size=${limits.memoryMb}`,
    ];
    this.#child = new Deno.Command("/bin/sh", {
      args: [
        ...["-c", toFile, "sh", logFile],
        ...[Deno.execPath(), "run", "--no-prompt", "--allow-net", "--allow-env", "--quiet", ...limited],
        ...resolution,
        script,
      ],
      cwd: root,
      clearEnv: true,
      env: { ...env, DENO_SERVE_ADDRESS: `tcp:127.0.0.1:${this.port}`, NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.ended = this.#child.status.finally(() => this.#exited = true);
  }

  get pid(): number {
    return this.#child.pid;
  }
  get isAlive(): boolean {
    return !this.#exited;
  }
  get ageMs(): number {
    return performance.now() - this.born;
  }

  /** Waits until it responds; false if it ended or did not respond within 20 s. */
  async start(): Promise<boolean> {
    while (this.isAlive && this.ageMs < 20_000) {
      try {
        // No function has this route, so a 404 means that the app is up.
        const response = await fetch(`http://127.0.0.1:${this.port}/${this.source.name}/-/ready`, {
          client: this.client,
        });
        await response.body?.cancel();
        this.#bootCpuMs = readCpuMs(this.pid);
        this.isReady = this.isAlive;
        return this.isReady;
      } catch {
        await pause(25); // not listening yet
      }
    }
    return false;
  }

  /** CPU since its first answer, in milliseconds. */
  cpuMs(): number {
    return readCpuMs(this.pid) - this.#bootCpuMs;
  }

  /** Memory beyond that of an empty process, without mapped files (Deno's own code). */
  memoryMb(): number {
    const status = readProc(this.pid, "status");
    const kb = Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0);
    return kb / 1024 - emptyProcessMb;
  }

  kill(reason: Killed | null): void {
    this.killed = reason;
    if (this.isAlive) signal(this.pid, "SIGKILL"); // it holds no state
  }

  /** Pending work of `EdgeRuntime.waitUntil`; 0 if the process does not respond. */
  async pending(): Promise<number> {
    try {
      const { pending } = await (await this.#runtime("GET")).json();
      return Number(pending);
    } catch {
      return 0;
    }
  }

  /** Dispatches `beforeunload`, once. */
  announceEnd(): void {
    if (this.#announced) return;
    this.#announced = true;
    this.#runtime("POST").then((response) => response.body?.cancel()).catch(() => {}); // it has ended
  }

  #runtime(method: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port}${runtimePath}`, { method, client: this.client });
  }

  /**
   * Forwards a request. It is in flight until its response is read completely or dropped. Rejects if the process ends
   * before it responds.
   */
  async forward(request: Request, path: string): Promise<Response> {
    const headers = new Headers(request.headers);
    headers.delete("host");
    this.inFlight += 1;
    let answer: Response;
    try {
      answer = await fetch(`http://127.0.0.1:${this.port}${path}`, {
        method: request.method,
        headers,
        body: request.body,
        redirect: "manual",
        client: this.client,
      });
    } catch (error) {
      this.inFlight -= 1;
      throw error;
    }
    const { status } = answer;
    const body = answer.body === null ? null : watched(answer.body, () => this.inFlight -= 1);
    if (body === null) this.inFlight -= 1;
    return new Response(body, { status, headers: answer.headers });
  }
}

/** User and system time of all threads so far, in milliseconds; 0 if the process has ended. */
export function readCpuMs(pid: number): number {
  const stat = readProc(pid, "stat");
  // The name in parentheses may contain spaces. After it: state is field 3, utime 14, stime 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * tickMs;
}

function readProc(pid: number, file: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/${file}`);
  } catch {
    return ""; // it has ended
  }
}
