/** What the fake engine of the playground's tests answers. */
import type { InferenceRequest } from "../support/fake_inference.ts";

export interface Reply {
  tokens?: string[];
  /** Waits this long before each token. */
  delayMs?: number;
  /** Waits for it after the first token. */
  pause?: Promise<void>;
  call?: { name: string; arguments: string };
  /** The engine dies after the tokens. */
  crash?: boolean;
}

/** Answers as vLLM streams it: the finish reason in the last chunk with a choice, the usage in one without. */
export function reply(
  { tokens = [], delayMs = 0, pause, call, crash = false }: Reply,
  request: InferenceRequest,
): Response {
  const usage = { prompt_tokens: 7, completion_tokens: tokens.length, total_tokens: 7 + tokens.length };
  const message = {
    role: "assistant",
    content: tokens.join(""),
    tool_calls: call === undefined ? [] : [{ id: "call_1", type: "function", function: call }],
  };
  const finish_reason = call === undefined ? "stop" : "tool_calls";
  if (request.body.stream !== true) {
    return Response.json({
      object: "chat.completion",
      model: request.body.model,
      choices: [{ index: 0, finish_reason, message }],
      usage,
    });
  }
  const chunk = (choices: unknown[]) =>
    `data: ${
      JSON.stringify({ object: "chat.completion.chunk", model: request.body.model, choices, usage })
    }\n\n`;
  const delta = (fields: unknown, reason: string | null = null) =>
    chunk([{ index: 0, delta: fields, finish_reason: reason }]);
  async function* events() {
    yield delta({ role: "assistant", content: "" });
    for (const content of tokens) {
      if (delayMs > 0) await wait(delayMs);
      yield delta({ content });
      await pause;
    }
    if (crash) {
      await wait(100);
      yield `data: ${
        JSON.stringify({ error: { message: "EngineCore died", type: "InternalServerError", code: 500 } })
      }\n\n`;
    }
    if (call !== undefined) {
      yield delta({ tool_calls: [{ index: 0, id: "call_1", type: "function", function: call }] });
    }
    yield delta({}, finish_reason);
    yield chunk([]);
    yield "data: [DONE]\n\n";
  }
  return new Response(ReadableStream.from(events()).pipeThrough(new TextEncoderStream()), {
    headers: { "content-type": "text/event-stream; charset=utf-8" },
  });
}

export const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export const isTuned = ({ token }: InferenceRequest) => token.adapter !== null;
