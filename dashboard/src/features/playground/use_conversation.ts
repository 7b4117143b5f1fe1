/** Asks the models and keeps their answers. */
import { useEffect, useRef, useState } from "preact/hooks";
import {
  type ChatMessage,
  type ChatRequest,
  ChatStreamError,
  streamChat,
} from "../../../../client/chat_stream.ts";
import { ApiError } from "../../../../client/mod.ts";
import { authHeaders, getServices } from "../../lib/services.ts";
import type { PlaygroundModel } from "./models.ts";
import { buildRequest, type CheckedSettings } from "./settings.ts";
import {
  type Answer,
  type AnswerError,
  before,
  history,
  isBusy,
  newAnswer,
  setAnswer,
  type Turn,
  turnMessages,
} from "./turns.ts";

/** Text arrives faster than a page should render. */
const renderIntervalMs = 60;

interface Place {
  turn: number;
  column: number;
  index: number;
}

export interface Conversation {
  turns: Turn[];
  isBusy: boolean;
  /** Asks all models. */
  send(turn: Omit<Turn, "columns">): void;
  /** Retries one model whose answer failed or was stopped. */
  retry(place: Place): void;
  /** Sends one model the results of its tool calls. */
  sendResults(place: Place, results: string[]): void;
  stop(): void;
  reset(): void;
}

export function useConversation(
  initial: Turn[],
  models: PlaygroundModel[],
  settings: CheckedSettings,
  /** Announces the outcome of an answer to screen readers. */
  announce: (text: string) => void,
): Conversation {
  const [turns, setTurns] = useState(initial);
  // Answers arrive in later renders than the one that sent the request.
  const latest = useRef(turns);
  const update = (change: (turns: Turn[]) => Turn[]) => {
    latest.current = change(latest.current);
    setTurns(latest.current);
  };
  const requests = useRef(new Set<AbortController>());
  const stop = () => {
    for (const request of requests.current) request.abort();
  };
  useEffect(() => stop, []);

  const ask = async (
    place: Place,
    model: Pick<PlaygroundModel, "id" | "label">,
    messages: ChatMessage[],
    tools: unknown[] | null,
  ) => {
    const begin = performance.now();
    const change = (fields: Partial<Answer>) =>
      update((turns) =>
        setAnswer(
          turns,
          place,
          (answer) => ({
            ...answer ?? newAnswer(model.id, model.label),
            ...fields,
          }),
        )
      );
    update((turns) => setAnswer(turns, place, () => newAnswer(model.id, model.label)));
    const controller = new AbortController();
    requests.current.add(controller);
    const text = new TextBuffer((content) => change({ content, state: "streaming" }));
    let firstTextMs: number | null = null;
    let isLoading = false;
    try {
      const request = buildRequest(model.id, messages, settings, tools);
      for await (const event of streamAnswer(request, controller.signal)) {
        if (event.type === "loading") {
          if (isLoading || firstTextMs !== null) continue;
          isLoading = true;
          change({ state: "loading" });
          announce(`Loading ${model.label.toLowerCase()} on the GPU.`);
        } else if (event.type === "text") {
          firstTextMs ??= performance.now() - begin;
          text.add(event.text);
        } else {
          text.end();
          const { content, toolCalls, finishReason, usage } = event.answer;
          const totalMs = performance.now() - begin;
          change({
            state: "finished",
            content,
            toolCalls,
            finishReason,
            usage,
            firstTextMs,
            totalMs,
          });
          announce(
            `${model.label}: ${content}${toolCalls.map(({ name }) => ` Calls ${name}.`).join("")}`,
          );
        }
      }
    } catch (cause) {
      text.end();
      const totalMs = performance.now() - begin;
      const ended = { content: text.content, firstTextMs, totalMs };
      if (controller.signal.aborted) change({ ...ended, state: "stopped" });
      else change({ ...ended, state: "failed", error: describeError(cause) });
    } finally {
      requests.current.delete(controller);
    }
  };

  return {
    turns,
    isBusy: turns.some(({ columns }) => columns.some((answers) => answers.some(isBusy))),
    send(turn) {
      const past = latest.current;
      update((turns) => [...turns, { ...turn, columns: models.map(() => []) }]);
      for (const [column, model] of models.entries()) {
        const { messages, tools } = turn.startsOver
          ? { messages: [], tools: turn.tools }
          : history(past, column);
        void ask({ turn: past.length, column, index: 0 }, model, [
          ...messages,
          ...turn.messages,
        ], tools);
      }
    },
    retry(place) {
      const turn = latest.current[place.turn];
      const answers = turn?.columns[place.column]?.slice(0, place.index);
      const failed = turn?.columns[place.column]?.[place.index];
      if (turn === undefined || answers === undefined || failed === undefined) {
        return;
      }
      const { messages, tools } = before(
        latest.current,
        place.turn,
        place.column,
      );
      void ask(
        place,
        { id: failed.model, label: failed.label },
        [...messages, ...turnMessages(turn, place.column, answers)],
        tools,
      );
    },
    sendResults(place, results) {
      update((turns) =>
        setAnswer(
          turns,
          place,
          (answer) => ({ ...answer ?? newAnswer("", ""), results }),
        )
      );
      const turn = latest.current[place.turn];
      const answer = turn?.columns[place.column]?.[place.index];
      if (turn === undefined || answer === undefined) return;
      const { messages, tools } = before(
        latest.current,
        place.turn,
        place.column,
      );
      void ask(
        { ...place, index: place.index + 1 },
        { id: answer.model, label: answer.label },
        [...messages, ...turnMessages(turn, place.column)],
        tools,
      );
    },
    stop,
    reset() {
      stop();
      update(() => []);
    },
  };
}

async function* streamAnswer(request: ChatRequest, signal: AbortSignal) {
  const headers = await authHeaders();
  const send = (body: string) =>
    fetch(`${getServices().config.apiUrl}/chat/completions`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body,
      signal,
    });
  yield* streamChat(send, request, signal);
}

/** Collects text and passes it on a few times per second. */
class TextBuffer {
  content = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly onContent: (content: string) => void) {}

  add(text: string): void {
    this.content += text;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.onContent(this.content);
    }, renderIntervalMs);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

function describeError(cause: unknown): AnswerError {
  if (cause instanceof ApiError) {
    return {
      message: cause.message,
      code: cause.code,
      requestId: cause.problem.request_id,
    };
  }
  if (cause instanceof ChatStreamError) {
    return { message: cause.message, code: cause.code, requestId: null };
  }
  // fetch() throws a TypeError when the connection fails.
  const message = cause instanceof TypeError
    ? "Could not reach the server. Check your connection and that the server is up."
    : cause instanceof Error
    ? cause.message
    : String(cause);
  return { message, code: null, requestId: null };
}
