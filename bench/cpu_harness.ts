/**
 * The three functions, each one process that stays, behind a gateway that swallows their nudges: so a request's CPU is its
 * own, and a tick comes when the bench sends one.
 */
import { deriveSchedulerSecret } from "../local/stack/environment.ts";
import { type EdgeFunction, startFunction } from "../local/emulators/functions/mod.ts";
import { type Gateway, startGateway } from "../local/stack/gateway.ts";
import { join } from "../local/paths.ts";
import { type Stand, startStand } from "./harness.ts";

export type Part = "tunebase" | "tunebase-callback" | "tunebase-scheduler";

export class CpuStand {
  readonly url: string;
  readonly #edges = new Map<string, EdgeFunction>();

  private constructor(readonly stand: Stand, private readonly gateway: Gateway) {
    this.url = `http://127.0.0.1:${gateway.port}`;
  }

  static async start(): Promise<CpuStand> {
    const stand = await startStand({ cronSeconds: 3600 });
    let made: CpuStand | null = null;
    const gateway = startGateway(0, [
      { prefix: "/functions/v1/tunebase-scheduler", handle: () => Response.json({}, { status: 202 }) },
      {
        prefix: "/storage/v1",
        handle: ({ url, method, headers, body }) => {
          const { pathname, search } = new URL(url);
          return fetch(stand.stack.url + pathname + search, { method, headers, body });
        },
      },
    ], (name) => made?.edge(name));
    made = new CpuStand(stand, gateway);
    try {
      const { functionEnv, home } = stand.stack;
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

  /** A request to the API with the bench's key; its answer was read to the end. Throws unless it is a success. */
  async api(path: string, init: RequestInit = {}): Promise<string> {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${this.stand.openai.apiKey}`);
    if (typeof init.body === "string") headers.set("content-type", "application/json");
    const response = await fetch(`${this.url}/functions/v1/tunebase${path}`, { ...init, headers });
    const text = await response.text();
    if (!response.ok) throw new Error(`${init.method ?? "GET"} ${path}: ${response.status} ${text}`);
    return text;
  }

  /** One tick of the scheduler, to its answer. */
  async tick(): Promise<Record<string, number>> {
    const edge = this.#edges.get("tunebase-scheduler");
    const response = await edge?.fetch(
      new Request("http://localhost/", {
        method: "POST",
        headers: { authorization: `Bearer ${deriveSchedulerSecret(this.stand.stack.keys)}` },
      }),
      "/tunebase-scheduler/tick",
    );
    if (response?.ok !== true) throw new Error(`a tick was answered ${response?.status}`);
    return await response.json();
  }

  async close(): Promise<void> {
    for (const edge of this.#edges.values()) await edge.stop();
    await this.gateway.stop();
    await this.stand.close();
  }
}
