/** Requests to the engine: vLLM behind a RunPod load-balancing endpoint and our worker's middleware. */
import { abortable } from "../abortable.ts";
import { tokenHeader } from "../contracts/inference_token.ts";
import { ApiError } from "../errors.ts";
import type { Settings } from "../platform.ts";
import type { ServedModel, StartedInference } from "./served_model.ts";

const askAgainMs = 2_000;

export interface Engine {
  settings: Settings;
  started: StartedInference;
  served: ServedModel;
}

/** Sends a request. Returns the successful response; throws an ApiError, or the signal's reason if that was aborted. */
export async function askEngine(
  engine: Engine,
  path: "chat/completions" | "completions" | "warm",
  body: unknown,
  signal: AbortSignal,
): Promise<Response> {
  const { settings, started, served } = engine;
  const response = await fetch(
    `${settings.inferenceUrl.replace("{endpoint}", started.endpoint_id)}/v1/${path}`,
    {
      method: "POST",
      headers: {
        // RunPod uses the authorization header itself.
        "authorization": `Bearer ${settings.runpodKey}`,
        "content-type": "application/json",
        [tokenHeader]: served.token,
      },
      body: JSON.stringify(body),
      signal,
    },
  ).catch((error: unknown) => {
    throw signal.aborted
      ? signal.reason
      : unavailable(`connecting to endpoint ${started.endpoint_id}: ${error}`);
  });
  // 204: a worker that is still loading.
  if (response.ok && response.status !== 204) return abortable(response, signal);
  throw engineError(engine, response.status, parsed(await response.text()), response.headers);
}

/** Retries while no worker is ready, because a large model takes longer to load than RunPod holds a request. */
export async function askUntilLoaded(...request: Parameters<typeof askEngine>): Promise<Response> {
  const signal = request[3];
  let failure: unknown;
  for (;;) {
    try {
      return await askEngine(...request);
    } catch (error) {
      const isLoading = error instanceof ApiError && error.code === "model_loading";
      if (!isLoading) throw signal.aborted ? failure ?? error : error;
      failure = error;
    }
    await new Promise((resolve) => setTimeout(resolve, askAgainMs));
    if (signal.aborted) throw failure;
  }
}

/** The engine failed; retrying helps. `cause` is for the log: a status and a code, never text of the request. */
export const unavailable = (cause: string, seconds = 5) =>
  ApiError.of("inference_unavailable", {}, { cause, headers: retryAfter(seconds) });
export const loading = () => ApiError.of("model_loading", {}, { headers: retryAfter(30) });
/** Otherwise the SDKs would retry a long request that cannot succeed. */
export const timedOut = () =>
  ApiError.of("inference_timeout", {}, { headers: { "x-should-retry": "false" } });

const retryAfter = (seconds: number) => ({ "retry-after": String(seconds), "x-should-retry": "true" });

/** Converts any failure to an ApiError. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof DOMException && error.name === "TimeoutError") return timedOut();
  return unavailable(`reading the answer: ${error}`);
}

/** The ApiError for an error of RunPod, of our middleware or of vLLM. `body`: as vLLM sends it, or anything. */
export function engineError(
  { started: { model, endpoint_id }, served }: Engine,
  status: number,
  body: unknown,
  headers = new Headers(),
): ApiError {
  const error = isRecord(body) && isRecord(body.error) ? body.error : {};
  const cause = `endpoint ${endpoint_id}: status ${status}${
    typeof error.code === "string" ? `, ${error.code.slice(0, 100)}` : ""
  }`;
  switch (error.code) {
    case "adapter_unavailable":
      return unavailable(cause);
    case "adapter_corrupt":
      return ApiError.of("model_files_invalid", { model, problem: "differ from those that were trained" }, {
        cause,
      });
    case "base_model_mismatch":
      return notServable(model, "The endpoint serves another base model or revision.", cause);
    case "rank_too_large":
      return notServable(model, "Its LoRA rank is above the endpoint's limit.", cause);
    case "adapter_unsupported":
      return notServable(model, "The endpoint's engine does not support this type of adapter.", cause);
  }
  if (status === 400 && typeof error.message === "string") {
    // The opaque name means nothing to the client.
    const message = error.message.replaceAll(served.name === "base" ? "`base`" : served.name, model).slice(
      0,
      2000,
    );
    const param = typeof error.param === "string" ? error.param : null;
    return new ApiError(isTooLong(message) ? "context_length_exceeded" : "invalid_request", [{
      param,
      message,
    }]);
  }
  if (status === 429) {
    const seconds = Number(headers.get("retry-after"));
    return unavailable(cause, seconds >= 1 && seconds <= 60 ? Math.ceil(seconds) : 5);
  }
  // RunPod's limit of 5.5 minutes.
  if (status === 524) return timedOut();
  // 204 is a worker that is loading. RunPod answers 400, in its own form, if none is ready after two minutes.
  return [204, 400, 503, 504].includes(status) ? loading() : unavailable(cause);
}

const notServable = (model: string, reason: string, cause: string) =>
  ApiError.of("model_not_servable", { model, reason, param: "model" }, { cause });

/** vLLM's messages about the context name the limit and the request's length, but have no code of their own. */
const isTooLong = (message: string) =>
  /maximum (context|model) length|max_model_len|context length/i.test(message);

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object" && !Array.isArray(value);
