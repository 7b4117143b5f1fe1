/** A fake of RunPod's public API: answers as the test says, and records requests. */

export interface RunpodRequest {
  method: string;
  path: string;
  body: unknown;
  /** When it arrived, in milliseconds of `performance.now()`. */
  at: number;
}

export class FakeRunpod {
  readonly requests: RunpodRequest[] = [];
  /** How /run answers; by default it accepts the run. */
  run: () => Response = () => Response.json({ id: `run-${this.requests.length}`, status: "IN_QUEUE" });
  /** How /status answers. */
  status: () => Response = () => Response.json({ id: "run", status: "IN_QUEUE" });
  /** How /health answers; by default as an endpoint scaled to zero. */
  health: () => Response = () => Response.json({ jobs: { inQueue: 1 }, workers: { idle: 0, running: 0 } });
  /** How /cancel answers. */
  cancel: () => Response = () => Response.json({ id: "run", status: "CANCELLED" });

  constructor(private readonly key: string) {}

  /** The bodies of the /run calls. */
  get runs(): RunpodRequest[] {
    return this.requests.filter(({ path }) => path.endsWith("/run"));
  }

  get cancels(): RunpodRequest[] {
    return this.requests.filter(({ path }) => path.includes("/cancel/"));
  }

  async fetch(request: Request): Promise<Response> {
    const at = performance.now();
    if (request.headers.get("authorization") !== `Bearer ${this.key}`) {
      return new Response("unauthorized", { status: 401 });
    }
    const path = new URL(request.url).pathname;
    const text = await request.text();
    this.requests.push({ method: request.method, path, body: text === "" ? null : JSON.parse(text), at });
    if (path.endsWith("/run")) return this.run();
    if (path.endsWith("/health")) return this.health();
    return path.includes("/cancel/") ? this.cancel() : this.status();
  }
}
