/**
 * A fake RunPod load-balancing endpoint with vLLM behind our middleware: it checks the token, answers as the test says, and
 * records requests. Its bodies are those of vLLM 0.32.
 */
import { verify } from "hono/jwt";
import {
  inferenceSecretPurpose,
  InferenceToken,
  tokenHeader,
} from "../../supabase/functions/_shared/contracts/inference_token.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import type { Keys } from "../../local/stack/keys.ts";

export interface InferenceRequest {
  path: string;
  endpoint: string;
  body: Record<string, unknown>;
  token: InferenceToken;
  /** Aborted when the API closes the connection before its end. */
  signal: AbortSignal;
}

export type Answer = (request: InferenceRequest) => Response | Promise<Response>;

export class FakeInference {
  readonly requests: InferenceRequest[] = [];
  /** How it answers completions; by default with three tokens. */
  answer: Answer = complete(["It", " is", " fine"]);
  /** How it answers /v1/warm. */
  warm: Answer = () => Response.json({ status: "ready" });
  /** The status of /ping: 200 ready, 204 loading. */
  ping = 200;

  constructor(private readonly keys: Keys) {}

  /** The newest request. */
  get last(): InferenceRequest {
    const last = this.requests.at(-1);
    if (last === undefined) throw new Error("the engine got no request");
    return last;
  }

  async fetch(request: Request): Promise<Response> {
    const [, endpoint = "", path = ""] =
      /^\/runpod\/lb\/([^/]+)(\/.*)$/.exec(new URL(request.url).pathname) ?? [];
    if (request.headers.get("authorization") !== `Bearer ${this.keys.runpodKey}`) {
      return new Response("Unauthorized", { status: 401 });
    }
    if (path === "/ping") return new Response(null, { status: this.ping });
    const secret = deriveSecret(this.keys.masterKey, inferenceSecretPurpose(endpoint));
    const token = InferenceToken.parse(await verify(request.headers.get(tokenHeader) ?? "", secret, "HS256"));
    if (token.aud !== endpoint) return vllmError(401, "The token is for another endpoint.", "invalid_token");
    const body = await request.json();
    const recorded = { path, endpoint, body, token, signal: request.signal };
    this.requests.push(recorded);
    if (path === "/v1/warm") return await this.warm(recorded);
    if (body.model !== token.model || body.cache_salt !== token.cache_salt) {
      return vllmError(401, "The token is for another model.", "invalid_token");
    }
    return await this.answer(recorded);
  }
}

/** An error as vLLM and our middleware send it; vLLM's code is the status. */
export const vllmError = (status: number, message: string, code: string | number = status) =>
  Response.json({ error: { message, type: "BadRequestError", param: null, code } }, { status });

export interface StreamOptions {
  /** Waits this long before each token. */
  delayMs?: number;
  /** Waits for it after each token. */
  pause?: Promise<void>;
  /** A tool call after the tokens. */
  call?: { name: string; arguments: string };
  /** What follows the tokens: the end, a lost connection, vLLM's error event, or nothing ever. */
  end?: "done" | "lost" | "error" | "hang";
}

const promptTokens = 7;
const usageOf = (tokens: number) => ({
  prompt_tokens: promptTokens,
  completion_tokens: tokens,
  total_tokens: promptTokens + tokens,
});

/** Answers with these tokens, as a stream or whole, as chat or as text. */
export function complete(tokens: string[], options: StreamOptions = {}): Answer {
  const { call, end = "done" } = options;
  const finish_reason = call === undefined ? "stop" : "tool_calls";
  const calls = call === undefined ? [] : [{ index: 0, id: "call_1", type: "function", function: call }];
  return (request) => {
    const isChat = request.path === "/v1/chat/completions";
    const common = { id: "chatcmpl-engine", created: 1_790_000_000, model: request.body.model };
    if (request.body.stream !== true) {
      const choice = { index: 0, logprobs: null, finish_reason, stop_reason: null };
      return Response.json({
        ...common,
        object: isChat ? "chat.completion" : "text_completion",
        choices: [
          isChat
            ? { ...choice, message: { role: "assistant", content: tokens.join(""), tool_calls: calls } }
            : { ...choice, text: tokens.join("") },
        ],
        usage: usageOf(tokens.length),
      });
    }
    const object = isChat ? "chat.completion.chunk" : "text_completion";
    const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`;
    const chunk = (choices: unknown[], count: number) =>
      event({ ...common, object, choices, usage: usageOf(count) });
    async function* events() {
      if (isChat) {
        yield chunk([{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }], 0);
      }
      for (const [i, token] of tokens.entries()) {
        if (options.delayMs) await new Promise((resolve) => setTimeout(resolve, options.delayMs));
        const isLast = end === "done" && call === undefined && i === tokens.length - 1;
        const rest = { index: 0, logprobs: null, finish_reason: isLast ? finish_reason : null };
        yield chunk([isChat ? { ...rest, delta: { content: token } } : { ...rest, text: token }], i + 1);
        await options.pause;
      }
      if (call !== undefined) {
        yield chunk([{ index: 0, delta: { tool_calls: calls }, finish_reason }], tokens.length);
      }
      switch (end) {
        case "lost":
          throw new Error("the worker was killed");
        case "hang":
          return void await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
        case "error":
          yield event({ error: { message: "EngineCore died", type: "InternalServerError", code: 500 } });
          return void (yield "data: [DONE]\n\n");
        case "done":
          yield chunk([], tokens.length);
          yield "data: [DONE]\n\n";
      }
    }
    return new Response(ReadableStream.from(events()).pipeThrough(new TextEncoderStream()), {
      headers: { "content-type": "text/event-stream; charset=utf-8" },
    });
  };
}

/** Whether a request is for an adapter, and not for a base model. */
export const isTuned = ({ token }: InferenceRequest): boolean => token.adapter !== null;
