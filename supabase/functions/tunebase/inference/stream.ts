/**
 * Streams an answer: forwards the engine's events with the model's name replaced by the one that the client sent. While the
 * model loads, comments keep the connection open; the SDKs skip them. A failure becomes an event with `error`, which the
 * SDKs raise.
 */
import { describeError } from "../../_shared/log.ts";
import type { Platform } from "../../_shared/platform.ts";
import type { Bill } from "./bill.ts";
import type { Recorder } from "./stored_completion.ts";
import {
  asApiError,
  type Engine,
  engineError,
  isRecord,
  unavailable,
} from "../../_shared/inference/engine.ts";

const commentMs = 10_000;
const comment = ": loading the model\n\n";

export interface Exchange {
  platform: Platform;
  engine: Engine;
  bill: Bill;
  /** The id and object's prefix that the client sees. */
  answerId: string;
  includeUsage: boolean;
  /** Records the conversation; null: the client did not ask to store it. */
  recorder: Recorder | null;
  /** Aborting it ends the request to the engine. */
  controller: AbortController;
}

/** Streams an answer. `answer` may still be pending; if so, the response starts with a comment. */
export function streamAnswer(exchange: Exchange, answer: Promise<Response>, isPending: boolean): Response {
  const encoder = new TextEncoder();
  const events = relay(exchange, answer);
  let timer: ReturnType<typeof setInterval>;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      if (isPending) controller.enqueue(encoder.encode(comment));
      timer = setInterval(() => controller.enqueue(encoder.encode(comment)), commentMs);
    },
    async pull(controller) {
      const { done, value } = await events.next();
      if (!done) return controller.enqueue(encoder.encode(value));
      clearInterval(timer);
      controller.close();
    },
    cancel() {
      clearInterval(timer);
      exchange.controller.abort();
      exchange.platform.waitUntil(events.return());
    },
  });
  return new Response(body, {
    headers: { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store" },
  });
}

/** The events to send, and the bill when they end. */
async function* relay(exchange: Exchange, answer: Promise<Response>): AsyncGenerator<string, void> {
  const { bill, controller, platform } = exchange;
  let end: Parameters<Bill["finish"]> = ["cancelled"];
  try {
    const response = await answer;
    bill.answered();
    yield* rewritten(exchange, response);
    end = ["succeeded", { completion: exchange.recorder?.completion() ?? null }];
  } catch (error) {
    if (controller.signal.aborted) return;
    const failure = asApiError(error);
    end = ["failed", { error: failure }];
    platform.log({
      level: "error",
      msg: "a streamed answer failed",
      inference_request: bill.id,
      code: failure.code,
      error: describeError(failure.cause ?? failure),
    });
    yield `data: ${JSON.stringify({ error: failure.body(bill.id).error })}\n\n`;
  } finally {
    await bill.finish(...end);
  }
}

/** The engine's events, rewritten. Throws if they end without `[DONE]`, or with an error. */
async function* rewritten(exchange: Exchange, response: Response): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    let out = "";
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice("data:".length).trim();
      if (data === "[DONE]") return void (yield `${out}data: [DONE]\n\n`);
      const event: unknown = JSON.parse(data);
      if (!isRecord(event) || event.error !== undefined) {
        if (out !== "") yield out;
        throw engineError(exchange.engine, statusOf(event), event);
      }
      const chunk = rewrite(exchange, event);
      if (chunk !== null) out += `data: ${JSON.stringify(chunk)}\n\n`;
    }
    if (out !== "") yield out;
  }
  throw unavailable("the stream ended early");
}

/** vLLM's errors have their status as `code`. */
function statusOf(event: unknown): number {
  const error = isRecord(event) ? event.error : null;
  return isRecord(error) && typeof error.code === "number" ? error.code : 500;
}

/** A chunk for the client; null for the usage chunk if the client did not request it. */
function rewrite(
  { engine, bill, answerId, includeUsage, recorder }: Exchange,
  chunk: Record<string, unknown>,
): Record<string, unknown> | null {
  const { usage, ...rest } = chunk;
  const isLast = Array.isArray(chunk.choices) && chunk.choices.length === 0;
  bill.add(usage);
  recorder?.addChunk(chunk);
  if (isLast && !includeUsage) return null;
  return {
    ...rest,
    id: answerId,
    model: engine.started.model,
    ...(includeUsage ? { usage: isLast ? usage : null } : {}),
  };
}
