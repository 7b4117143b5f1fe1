/** A RunPod that answers as a test says, and keeps what it was asked. Stands for the public API's wire alone. */

export interface Asked {
  method: string;
  path: string;
  body: unknown;
}

export class ScriptedRunpod {
  readonly asked: Asked[] = [];
  /** How /run answers; by default it takes the run. */
  run: () => Response = () => Response.json({ id: `run-${this.asked.length}`, status: "IN_QUEUE" });
  /** How /status answers. */
  status: () => Response = () => Response.json({ id: "run", status: "IN_QUEUE" });

  constructor(private readonly key: string) {}

  /** The bodies of the /run calls. */
  get runs(): Asked[] {
    return this.asked.filter(({ path }) => path.endsWith("/run"));
  }

  get cancels(): Asked[] {
    return this.asked.filter(({ path }) => path.includes("/cancel/"));
  }

  async fetch(request: Request): Promise<Response> {
    if (request.headers.get("authorization") !== `Bearer ${this.key}`) {
      return new Response("unauthorized", { status: 401 });
    }
    const path = new URL(request.url).pathname;
    const text = await request.text();
    this.asked.push({ method: request.method, path, body: text === "" ? null : JSON.parse(text) });
    if (path.endsWith("/run")) return this.run();
    if (path.includes("/cancel/")) return Response.json({ id: path.split("/").at(-1), status: "CANCELLED" });
    return this.status();
  }
}
