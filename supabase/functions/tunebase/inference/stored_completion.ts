/** A chat completion to store: the conversation, and the answer, which a stream delivers in pieces. */
import { isRecord } from "../../_shared/inference/engine.ts";
import type { ChatBody } from "./request.ts";

interface Choice {
  index: number;
  finish_reason: unknown;
  message: { role: "assistant"; content: string | null; tool_calls?: ToolCall[] };
}
interface ToolCall {
  id: unknown;
  type: "function";
  function: { name: string; arguments: string };
}

export class Recorder {
  #response: Record<string, unknown> | null = null;
  #choices = new Map<number, Choice>();

  constructor(private readonly body: ChatBody) {}

  /** Sets a whole answer. */
  setResponse(response: Record<string, unknown>): void {
    this.#response = response;
  }

  /** Adds a chunk of a stream. */
  addChunk(chunk: Record<string, unknown>): void {
    const { choices, ...rest } = chunk;
    this.#response = { ...this.#response, ...rest, object: "chat.completion" };
    for (const choice of records(choices)) {
      const index = Number(choice.index ?? 0);
      const known: Choice = this.#choices.get(index) ??
        { index, finish_reason: null, message: { role: "assistant", content: null } };
      this.#choices.set(index, known);
      known.finish_reason = choice.finish_reason ?? known.finish_reason;
      if (isRecord(choice.delta)) addDelta(known.message, choice.delta);
    }
  }

  /** What `finish_inference` stores. */
  completion(): object {
    const { messages, tools, metadata } = this.body;
    const response = this.#choices.size === 0
      ? this.#response
      : { ...this.#response, choices: [...this.#choices.values()] };
    return {
      messages,
      tools: tools ?? null,
      response,
      answer: trainingMessage(response),
      metadata: metadata ?? null,
    };
  }
}

function addDelta(message: Choice["message"], delta: Record<string, unknown>): void {
  if (typeof delta.content === "string") message.content = (message.content ?? "") + delta.content;
  for (const call of records(delta.tool_calls)) {
    const calls = message.tool_calls ??= [];
    const known = calls[Number(call.index ?? 0)] ??= {
      id: call.id,
      type: "function",
      function: { name: "", arguments: "" },
    };
    const { name, arguments: more } = isRecord(call.function) ? call.function : {};
    if (typeof name === "string") known.function.name += name;
    if (typeof more === "string") known.function.arguments += more;
  }
}

/** The first choice as the last message of a training row, without the engine's own fields; null if it was cut off. */
function trainingMessage(response: Record<string, unknown> | null): object | null {
  const [choice] = records(response?.choices);
  if (choice === undefined || choice.finish_reason === "length" || !isRecord(choice.message)) return null;
  const { content, tool_calls } = choice.message;
  const calls = records(tool_calls).map(({ id, function: called }) => ({
    id,
    type: "function",
    function: called,
  }));
  if (calls.length > 0) return { role: "assistant", content: content || null, tool_calls: calls };
  return typeof content === "string" && content !== "" ? { role: "assistant", content } : null;
}

const records = (value: unknown): Record<string, unknown>[] =>
  Array.isArray(value) ? value.filter(isRecord) : [];
