/** RunPod's HTTP API, as far as we use it. Nothing here decides; it says what surely happened and what is unclear. */
import * as z from "zod";
import { logError } from "../_shared/log.ts";
import type { Settings } from "../_shared/platform.ts";
import type { RunInput } from "../_shared/protocol.ts";
import { cleanJson } from "../_shared/text.ts";

/** What became of a /run. `unknown`: it may have started a paid run. */
export type RunResult =
  | { kind: "submitted"; id: string }
  | {
    kind: "not_started";
    reason: string;
    retrySeconds: number;
    /** RunPod asks everybody to wait, not only for this run. */
    blocked: boolean;
  }
  | { kind: "refused"; reason: string }
  | { kind: "unknown"; reason: string };

/** What /status says: RunPod's own word, or GONE (404), or UNREACHABLE. */
export interface Found {
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

/** RunPod takes bodies of 10 MB. */
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
      return { kind: "refused", reason: `The run's input has ${body.length} bytes; RunPod takes 10 MB.` };
    }
    let response: Response;
    try {
      response = await this.#call(endpoint, "run", body);
    } catch (error) {
      // Deno before 2.2 says it in the message, later ones in the cause.
      const reason = error instanceof Error ? `${error.message} ${error.cause ?? ""}`.trim() : String(error);
      // Only a connection that was never made is sure not to have started anything.
      return /client error \(Connect\)/.test(reason)
        ? { kind: "not_started", reason: "RunPod cannot be reached", retrySeconds: 30, blocked: false }
        : { kind: "unknown", reason: `RunPod's answer did not come: ${reason}` };
    }
    const text = await response.text().catch(() => "");
    if (response.status === 429) {
      const after = Number(response.headers.get("retry-after"));
      return {
        kind: "not_started",
        reason: "RunPod takes no more requests just now (429)",
        // Jitter, so that the dispatchers do not come back all at once.
        retrySeconds: Math.ceil((after > 0 && after < 3600 ? after : 10) * (1 + Math.random() / 2)),
        blocked: true,
      };
    }
    if (response.status >= 400 && response.status < 500) {
      return { kind: "refused", reason: `RunPod refused the run: ${response.status} ${text.slice(0, 300)}` };
    }
    const { id } = parse(text);
    return response.ok && typeof id === "string"
      ? { kind: "submitted", id }
      : { kind: "unknown", reason: `RunPod answered ${response.status} without an id` };
  }

  /** GET /status/{id}. */
  async status(endpoint: string, id: string): Promise<Found> {
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

  /** Why a run waits, by /health, in words that end a sentence; null when it does not say. */
  async queueReason(endpoint: string): Promise<string | null> {
    try {
      const response = await this.#call(endpoint, "health");
      const { workers, jobs } = Health.parse(await response.json());
      if (workers.throttled > 0) return "GPUs of this kind are scarce just now";
      if (workers.unhealthy > 0) return "the workers crash when they start";
      if (workers.initializing > 0) return "a worker is starting";
      if (workers.running > 0) return `the workers are busy; ${jobs.inQueue} runs wait`;
      return workers.idle + workers.ready > 0
        ? "a worker is about to take it"
        : "the endpoint has no workers";
    } catch (error) {
      logError(`/health of ${endpoint}`, error);
      return null;
    }
  }

  /** POST /cancel/{id}; false when RunPod did not take it. */
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
    return {}; // a proxy's error page: as good as no body
  }
}
