/** RunPod's HTTP API, as far as we use it. Reports what certainly happened and what is unknown; SQL decides what to do. */
import * as z from "zod";
import { logError } from "../_shared/log.ts";
import type { Settings } from "../_shared/platform.ts";
import type { RunInput } from "../_shared/protocol.ts";
import { cleanJson } from "../_shared/text.ts";

/** The outcome of /run. `unknown`: it may have started a billed run. */
export type RunResult =
  | { kind: "submitted"; id: string }
  | {
    kind: "not_started";
    reason: string;
    retrySeconds: number;
    /** RunPod's rate limit: no other run may be submitted either. */
    blocked: boolean;
  }
  | { kind: "refused"; reason: string }
  | { kind: "unknown"; reason: string };

/** `status` is RunPod's own, GONE (404) or UNREACHABLE. */
export interface RunpodStatus {
  status: string;
  error: string | null;
  output: unknown;
}

const count = z.number().default(0);
const Health = z.object({
  jobs: z.object({ inQueue: count }),
  workers: z.object({
    idle: count,
    initializing: count,
    ready: count,
    running: count,
    throttled: count,
    unhealthy: count,
  }),
});

/** The maximum size of a request body. */
const maxBytes = 10_000_000;

export class Runpod {
  constructor(private readonly settings: Pick<Settings, "runpodUrl" | "runpodKey">) {}

  /** POST /run. `ttl` counts from the submission, so it covers the queue and the run. */
  async run(
    endpoint: string,
    input: RunInput,
    webhook: string,
    policy: { executionTimeout: number; ttl: number },
  ): Promise<RunResult> {
    const body = JSON.stringify({ input, webhook, policy });
    if (body.length > maxBytes) {
      return {
        kind: "refused",
        reason: `The run's input has ${body.length} bytes; RunPod accepts at most 10 MB.`,
      };
    }
    let response: Response;
    try {
      response = await this.#call(endpoint, "run", body);
    } catch (error) {
      // Deno before 2.2 has the reason in the message, later versions in the cause.
      const reason = error instanceof Error ? `${error.message} ${error.cause ?? ""}`.trim() : String(error);
      // Only if no connection was established is it certain that nothing was started.
      return /client error \(Connect\)/.test(reason)
        ? { kind: "not_started", reason: "RunPod is unreachable", retrySeconds: 30, blocked: false }
        : { kind: "unknown", reason: `RunPod did not respond: ${reason}` };
    }
    const text = await response.text().catch(() => "");
    if (response.status === 429) {
      const after = Number(response.headers.get("retry-after"));
      return {
        kind: "not_started",
        reason: "RunPod is rate limiting requests (429)",
        // Jitter, so that dispatchers do not all return at once.
        retrySeconds: Math.ceil((after > 0 && after < 3600 ? after : 10) * (1 + Math.random() / 2)),
        blocked: true,
      };
    }
    if (response.status >= 400 && response.status < 500) {
      return { kind: "refused", reason: `RunPod rejected the run: ${response.status} ${text.slice(0, 300)}` };
    }
    const { id } = parse(text);
    return response.ok && typeof id === "string"
      ? { kind: "submitted", id }
      : { kind: "unknown", reason: `RunPod responded with ${response.status} and no id` };
  }

  /** GET /status/{id}. */
  async status(endpoint: string, id: string): Promise<RunpodStatus> {
    try {
      const response = await this.#call(endpoint, `status/${encodeURIComponent(id)}`);
      const body = parse(await response.text());
      if (response.status === 404) return { status: "GONE", error: null, output: null };
      if (!response.ok) return { status: "UNREACHABLE", error: `status ${response.status}`, output: null };
      return {
        status: String(body.status),
        error: typeof body.error === "string" ? body.error : null,
        output: body.output ?? null,
      };
    } catch (error) {
      return { status: "UNREACHABLE", error: String(error), output: null };
    }
  }

  /** Why a run waits, according to /health, as the end of a sentence; null if unknown. */
  async queueReason(endpoint: string): Promise<string | null> {
    try {
      const response = await this.#call(endpoint, "health");
      const { workers, jobs } = Health.parse(await response.json());
      if (workers.throttled > 0) return "this GPU type is scarce at the moment";
      if (workers.unhealthy > 0) return "the workers crash on startup";
      if (workers.initializing > 0) return "a worker is starting";
      if (workers.running > 0) return `all workers are busy (${jobs.inQueue} runs in the queue)`;
      return workers.idle + workers.ready > 0
        ? "a worker is about to pick it up"
        : "the endpoint has no workers";
    } catch (error) {
      logError(`/health of ${endpoint}`, error);
      return null;
    }
  }

  /** POST /cancel/{id}. Returns whether RunPod accepted it. */
  async cancel(endpoint: string, id: string): Promise<boolean> {
    try {
      const response = await this.#call(endpoint, `cancel/${encodeURIComponent(id)}`, "{}");
      await response.body?.cancel();
      return response.ok || response.status === 404;
    } catch (error) {
      logError(`could not cancel ${id} at RunPod`, error);
      return false;
    }
  }

  #call(endpoint: string, path: string, body?: string): Promise<Response> {
    return fetch(`${this.settings.runpodUrl}/${encodeURIComponent(endpoint)}/${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { authorization: `Bearer ${this.settings.runpodKey}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body }),
      signal: AbortSignal.timeout(20_000),
    });
  }
}

function parse(text: string): Record<string, unknown> {
  try {
    const value = cleanJson(JSON.parse(text));
    return value !== null && typeof value === "object" && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {}; // e.g. a proxy's error page
  }
}
