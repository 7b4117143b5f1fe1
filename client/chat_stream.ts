/** Streams chat completions: what the CLI's `chat` and the dashboard's playground share. */
import { createParser } from "eventsource-parser";
import { readProblem } from "./mod.ts";

export interface ToolCall {
  id: string;
  name: string;
  /** JSON, as the model wrote it: it may be invalid. */
  arguments: string;
}

export type ChatMessage =
  | { role: "system" | "user"; content: string }
  | {
    role: "assistant";
    content: string | null;
    tool_calls?: { id: string; type: "function"; function: { name: string; arguments: string } }[];
  }
  | { role: "tool"; content: string; tool_call_id: string };

/** A request without `stream`; the fields are those of `POST /chat/completions`. */
export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  temperature?: number;
  max_completion_tokens?: number;
  tools?: unknown[];
}

/** What arrives: `loading` while the model's worker starts, then pieces of the answer, then how it ended. */
export type ChatEvent =
  | { type: "loading" }
  | { type: "text"; text: string }
  | { type: "finished"; answer: ChatAnswer };

export interface ChatAnswer {
  content: string;
  toolCalls: ToolCall[];
  /** "stop", "length" or "tool_calls"; null if the stream did not say. */
  finishReason: string | null;
  usage: { prompt_tokens: number; completion_tokens: number } | null;
}

/** The answer broke off, with the error that the stream contained. */
export class ChatStreamError extends Error {
  constructor(message: string, readonly code: string | null) {
    super(message);
    this.name = "ChatStreamError";
  }
}

/** What is read of a `chat.completion.chunk`, or of an error event. */
interface Chunk {
  error?: { message: string; code?: string | null };
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  choices?: {
    finish_reason?: string | null;
    delta: {
      content?: string | null;
      tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
    };
  }[];
}

/** How often a request is sent again while the model is loading. Each time, the server waits for minutes itself. */
const maxRetries = 5;

/**
 * Sends a chat request and yields its events; the last one is `finished`. `send` posts a JSON body to
 * `/chat/completions`. Throws the API's ApiError, a ChatStreamError, or what `send` throws, such as an abort.
 */
export async function* streamChat(
  send: (body: string) => Promise<Response>,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent, void> {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } });
  let response = await send(body);
  for (let retry = 0; response.status === 503 && retry < maxRetries; retry++) {
    await response.body?.cancel();
    yield { type: "loading" };
    const seconds = Number(response.headers.get("retry-after") ?? 5);
    await sleep(seconds * 1000, signal);
    response = await send(body);
  }
  if (!response.ok || response.body === null) throw await readProblem(response);
  const answer: ChatAnswer = { content: "", toolCalls: [], finishReason: null, usage: null };
  let isComplete = false;
  for await (const event of readEvents(response.body)) {
    if (event === "[DONE]") isComplete = true;
    else if (event === null) yield { type: "loading" };
    else {
      const text = addChunk(answer, event);
      if (text !== "") yield { type: "text", text };
    }
  }
  if (!isComplete) {
    throw new ChatStreamError("The connection closed before the answer ended.", null);
  }
  yield { type: "finished", answer };
}

/** Rejects when the signal aborts. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

/** The assistant's message of an answer, to continue the conversation with. */
export function assistantMessage({ content, toolCalls }: ChatAnswer): ChatMessage {
  const calls = toolCalls.map(({ id, name, arguments: text }) => ({
    id,
    type: "function" as const,
    function: { name, arguments: text },
  }));
  return {
    role: "assistant",
    content: content === "" && calls.length > 0 ? null : content,
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

/** The data of each server-sent event up to `[DONE]`, and null for a comment. */
async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string | null> {
  const arrived: (string | null)[] = [];
  const parser = createParser({
    onEvent: ({ data }) => arrived.push(data),
    onComment: () => arrived.push(null),
  });
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      for (const data of arrived.splice(0)) {
        yield data;
        if (data === "[DONE]") return;
      }
    }
  } finally {
    // Also when the caller stops early: the server then stops generating.
    await reader.cancel().catch(() => {});
  }
}

/** Adds a chunk to the answer and returns its text. Throws a ChatStreamError for an error event. */
function addChunk(answer: ChatAnswer, data: string): string {
  const chunk = JSON.parse(data) as Chunk;
  if (chunk.error) throw new ChatStreamError(chunk.error.message, chunk.error.code ?? null);
  if (chunk.usage) answer.usage = chunk.usage;
  const choice = chunk.choices?.[0];
  if (choice === undefined) return "";
  if (choice.finish_reason) answer.finishReason = choice.finish_reason;
  for (const { index, id, function: part } of choice.delta.tool_calls ?? []) {
    const call = answer.toolCalls[index] ??= { id: "", name: "", arguments: "" };
    call.id ||= id ?? "";
    call.name += part?.name ?? "";
    call.arguments += part?.arguments ?? "";
  }
  const text = choice.delta.content ?? "";
  answer.content += text;
  return text;
}
