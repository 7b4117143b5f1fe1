/**
 * The three functions, each in one long-lived process, behind a gateway that discards wake-ups: so a request's CPU is only
 * its own, and ticks run only when the bench sends them.
 */
import { deriveSchedulerSecret } from "../local/stack/environment.ts";
import { type EdgeFunction, startFunction } from "../local/emulators/functions/mod.ts";
import { type Gateway, startGateway } from "../local/stack/gateway.ts";
import { join } from "../local/paths.ts";
import { type BenchStack, startBenchStack } from "./harness.ts";

export type Part = "tunebase" | "tunebase-callback" | "tunebase-scheduler";

export class CpuHarness {
  readonly url: string;
  readonly #edges = new Map<string, EdgeFunction>();

  private constructor(readonly bench: BenchStack, private readonly gateway: Gateway) {
    this.url = `http://127.0.0.1:${gateway.port}`;
  }

  static async start(): Promise<CpuHarness> {
    const bench = await startBenchStack({ cronSeconds: 3600 });
    let made: CpuHarness | null = null;
    const gateway = startGateway(0, [
      { prefix: "/functions/v1/tunebase-scheduler", handle: () => Response.json({}, { status: 202 }) },
      {
        prefix: "/storage/v1",
        handle: ({ url, method, headers, body }) => {
          const { pathname, search } = new URL(url);
          return fetch(bench.stack.url + pathname + search, { method, headers, body });
        },
      },
    ], (name) => made?.edge(name));
    made = new CpuHarness(bench, gateway);
    try {
      const { functionEnv, home } = bench.stack;
      for (const name of ["tunebase", "tunebase-callback", "tunebase-scheduler"]) {
        const env = { ...functionEnv, SUPABASE_URL: made.url };
        made.#edges.set(name, await startFunction(name, env, join(home, `logs/bench-${name}.log`)));
      }
      return made;
    } catch (error) {
      await made.close();
      throw error;
    }
  }

  edge(name: string): EdgeFunction | undefined {
    return this.#edges.get(name);
  }

  pid(part: Part): number {
    const [pid] = this.#edges.get(part)?.pids() ?? [];
    if (pid === undefined) throw new Error(`${part} does not run`);
    return pid;
  }

  /** Sends a request to the API with the bench's key and reads the response. Throws unless it succeeds. */
  async api(path: string, init: RequestInit = {}): Promise<string> {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${this.bench.openai.apiKey}`);
    if (typeof init.body === "string") headers.set("content-type", "application/json");
    const response = await fetch(`${this.url}/functions/v1/tunebase${path}`, { ...init, headers });
    const text = await response.text();
    if (!response.ok) throw new Error(`${init.method ?? "GET"} ${path}: ${response.status} ${text}`);
    return text;
  }

  /** Runs one tick of the scheduler. */
  async tick(): Promise<Record<string, number>> {
    const edge = this.#edges.get("tunebase-scheduler");
    const response = await edge?.fetch(
      new Request("http://localhost/", {
        method: "POST",
        headers: { authorization: `Bearer ${deriveSchedulerSecret(this.bench.stack.keys)}` },
      }),
      "/tunebase-scheduler/tick",
    );
    if (response?.ok !== true) throw new Error(`a tick was answered ${response?.status}`);
    return await response.json();
  }

  async close(): Promise<void> {
    for (const edge of this.#edges.values()) await edge.stop();
    await this.gateway.stop();
    await this.bench.close();
  }
}
