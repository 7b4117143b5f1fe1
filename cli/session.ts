/** A connection to the API: the typed client, patient with a network that breaks, and plain fetch for streams. */
import { randomUUID } from "node:crypto";
import { type Api, connect } from "../client/mod.ts";
import { readSettings, type Settings } from "./config.ts";
import { networkReason, UnreachableError } from "./errors.ts";
import { userAgent } from "./version.ts";

export interface Session extends Settings {
  api: Api;
  /** A request below the base URL, with the key; it is sent once. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

/** With the settings of the environment or the file. */
export async function openSession(): Promise<Session> {
  return sessionWith(await readSettings());
}

/** `patient`: whether a request is sent again after a break. */
export function sessionWith(settings: Settings, patient = true): Session {
  return {
    ...settings,
    api: connect({
      baseUrl: settings.baseUrl,
      token: () => settings.apiKey,
      fetch: (request) => patiently(request, patient ? [300, 1000, 3000] : []),
    }),
    fetch: (path, init = {}) => {
      const headers = new Headers(init.headers);
      headers.set("authorization", `Bearer ${settings.apiKey}`);
      headers.set("user-agent", userAgent);
      return reach(new Request(`${settings.baseUrl}${path}`, { ...init, headers }));
    },
  };
}

/**
 * Sends a request, and again after a break, a 429 or a 5xx that says nothing of itself. An Idempotency-Key makes that
 * safe for POST: the server does it once. `waits`: milliseconds before each further try.
 */
async function patiently(request: Request, waits: number[]): Promise<Response> {
  request.headers.set("user-agent", userAgent);
  if (request.method === "POST") request.headers.set("idempotency-key", randomUUID());
  const again = request.method === "GET" || request.method === "POST" ? waits : [];
  for (const wait of again) {
    const asked = await whole(request.clone()).catch((error: unknown) => {
      if (error instanceof UnreachableError) return error;
      throw error;
    });
    let said = 0;
    if (asked instanceof Response) {
      said = Number(asked.headers.get("retry-after") ?? 0) * 1000;
      // Who must wait for longer is told so, and decides.
      if (![429, 502, 503, 504].includes(asked.status) || said > 60_000) return asked;
    }
    await pause(Math.max(wait, said), request.signal);
  }
  return await whole(request);
}

/** The answer with its whole body: it may break in the middle. */
async function whole(request: Request): Promise<Response> {
  const response = await reach(request);
  if (response.body === null) return response;
  const body = await wording(request, response.arrayBuffer());
  return new Response(body, response);
}

/** Fetches; what came to no answer is an UnreachableError. */
const reach = (request: Request): Promise<Response> => wording(request, fetch(request));

async function wording<T>(request: Request, asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new UnreachableError(new URL(request.url).origin, networkReason(error), error);
  }
}

/** Waits; less where the signal comes. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
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
