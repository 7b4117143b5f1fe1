/** HTTP with a bearer token, retries and validated responses, for the clients of both platforms. */
import * as z from "zod";
import { DeployError } from "../errors.ts";

/** An error response of a platform. `message` is the platform's own text, without its name or credentials. */
export class PlatformError extends Error {
  constructor(readonly platform: string, readonly status: number, message: string) {
    super(message);
  }
}

/** How to solve it, as a sentence. */
export function suggestFix({ platform, status }: PlatformError): string {
  const isRunpod = platform === "RunPod";
  switch (status) {
    case 0:
      return "Check your connection and proxy, then run the command again.";
    case 401:
    case 403:
      return isRunpod
        ? "Set RUNPOD_API_KEY to a key of this account with read and write access."
        : "Set SUPABASE_ACCESS_TOKEN to a token of an account that can manage this project.";
    case 402:
      return `Check the account's plan and billing in the ${
        isRunpod ? "RunPod console" : "Supabase dashboard"
      }.`;
    case 404:
      return isRunpod
        ? "Check that RUNPOD_API_KEY belongs to the installation's account."
        : "Check the project's ref, and that SUPABASE_ACCESS_TOKEN belongs to an account with access to it.";
    case 429:
      return "Wait a minute, then run the command again.";
    default:
      return status >= 500
        ? `Check ${
          isRunpod ? "https://uptime.runpod.io" : "https://status.supabase.com"
        }, then run the command again.`
        : "Fix the problem in the message, then run the command again.";
  }
}

export interface PlatformOptions {
  /** Names the platform in errors: `Supabase`. */
  platform: string;
  baseUrl: string;
  token: string;
  /** What to do if the platform rejects the token. */
  refused: string;
  retries?: number;
}

const ErrorBody = z.object({
  message: z.string().optional(),
  detail: z.string().optional(),
  title: z.string().optional(),
  error: z.string().optional(),
  /** RunPod's list of validation errors. */
  errors: z.array(z.string()).optional(),
});

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** Calls a platform. Retries idempotent requests after a network error, 429, 502, 503 and 504. */
export async function call<T>(
  { platform, baseUrl, token, refused, retries = 4 }: PlatformOptions,
  method: Method,
  path: string,
  schema: z.ZodType<T>,
  body?: unknown,
): Promise<T> {
  const form = body instanceof FormData;
  for (let attempt = 0;; attempt++) {
    let response: Response;
    try {
      response = await fetch(`${baseUrl}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          accept: "application/json",
          ...(body === undefined || form ? {} : { "content-type": "application/json" }),
        },
        body: body === undefined ? null : form ? body : JSON.stringify(body),
        signal: AbortSignal.timeout(120_000),
      });
    } catch (error) {
      // Not a POST, which may have arrived: when the step runs again, it looks up the result by name.
      if (method === "POST" || attempt >= retries) {
        throw new PlatformError(
          platform,
          0,
          `cannot be reached at ${new URL(baseUrl).host}: ${message(error)}`,
        );
      }
      await backoff(attempt);
      continue;
    }
    if (
      [429, 502, 503, 504].includes(response.status) && attempt < retries &&
      (method !== "POST" || response.status === 429)
    ) {
      await response.body?.cancel();
      await backoff(attempt, Number(response.headers.get("retry-after")));
      continue;
    }
    const text = await response.text();
    if (response.status === 401) throw new DeployError(`${platform} rejected the token.`, refused);
    if (!response.ok) throw new PlatformError(platform, response.status, reason(text) || response.statusText);
    const value: unknown = text === "" ? undefined : parse(text);
    const checked = schema.safeParse(value);
    if (!checked.success) {
      throw new PlatformError(
        platform,
        response.status,
        `unexpected response to ${method} ${path}: ${z.prettifyError(checked.error)}`,
      );
    }
    return checked.data;
  }
}

function reason(text: string): string {
  const body = ErrorBody.safeParse(parse(text));
  if (!body.success) return text.slice(0, 500);
  const { message, detail, title, error, errors = [] } = body.data;
  return [message ?? detail ?? error ?? title ?? text, ...errors].join(" ").slice(0, 2000);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Node's message is only "fetch failed"; the reason is in its cause. */
const message = (error: unknown): string =>
  error instanceof Error ? error.cause instanceof Error ? error.cause.message : error.message : String(error);

async function backoff(attempt: number, seconds = 0): Promise<void> {
  const ms = seconds > 0 ? Math.min(seconds, 60) * 1000 : 500 * 2 ** attempt * (0.5 + Math.random());
  await new Promise((resolve) => setTimeout(resolve, ms));
}
