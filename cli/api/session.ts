/** A connection to the API: the typed client with retries, and plain fetch for streams. */
import { randomUUID } from "node:crypto";
import { type Api, connect } from "../../client/mod.ts";
import { networkErrorReason, UnreachableError } from "../errors.ts";
import { userAgent } from "../version.ts";
import { readSettings, type Settings } from "./settings.ts";

export interface Session extends Settings {
  api: Api;
  /** A request to a path below the base URL, with the key. It is not retried. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

const retryDelaysMs = [300, 1000, 3000];
/** Does not wait longer than this without asking the user. */
const maxRetryAfterMs = 60_000;
const retryableStatuses = [429, 502, 503, 504];

/** A session with the settings of the environment or the file. */
export async function openSession(): Promise<Session> {
  return createSession(await readSettings());
}

export function createSession(settings: Settings, { retry = true }: { retry?: boolean } = {}): Session {
  return {
    ...settings,
    api: connect({
      baseUrl: settings.baseUrl,
      token: () => settings.apiKey,
      fetch: (request) => fetchWithRetry(request, retry ? retryDelaysMs : []),
    }),
    fetch: (path, init = {}) => {
      const headers = new Headers(init.headers);
      headers.set("authorization", `Bearer ${settings.apiKey}`);
      headers.set("user-agent", userAgent);
      return fetchOnce(new Request(`${settings.baseUrl}${path}`, { ...init, headers }));
    },
  };
}

/**
 * Sends a request and retries it after a network error, a 429 or a gateway error. An Idempotency-Key makes that safe for
 * POST: the server runs it once. `delaysMs`: the delay before each retry.
 */
async function fetchWithRetry(request: Request, delaysMs: number[]): Promise<Response> {
  request.headers.set("user-agent", userAgent);
  if (request.method === "POST") request.headers.set("idempotency-key", randomUUID());
  const isRetryable = request.method === "GET" || request.method === "POST";
  for (const delayMs of isRetryable ? delaysMs : []) {
    const result = await fetchBody(request.clone()).catch((error: unknown) => {
      if (error instanceof UnreachableError) return error;
      throw error;
    });
    let retryAfterMs = 0;
    if (result instanceof Response) {
      retryAfterMs = Number(result.headers.get("retry-after") ?? 0) * 1000;
      if (!retryableStatuses.includes(result.status) || retryAfterMs > maxRetryAfterMs) return result;
    }
    await sleep(Math.max(delayMs, retryAfterMs), request.signal);
  }
  return await fetchBody(request);
}

/** Reads the whole body too, so that a connection that breaks halfway counts as a failed request. */
async function fetchBody(request: Request): Promise<Response> {
  const response = await fetchOnce(request);
  if (response.body === null) return response;
  const body = await wrapNetworkError(request, response.arrayBuffer());
  return new Response(body, response);
}

const fetchOnce = (request: Request): Promise<Response> => wrapNetworkError(request, fetch(request));

/** Turns a network error into an UnreachableError. */
async function wrapNetworkError<T>(request: Request, pending: Promise<T>): Promise<T> {
  try {
    return await pending;
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new UnreachableError(new URL(request.url).origin, networkErrorReason(error), error);
  }
}

/** Resolves after `ms`, or as soon as the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
