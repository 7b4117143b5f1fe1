/** A conversation with one model: keeps the messages, and streams each answer. */
import {
  assistantMessage,
  type ChatAnswer,
  type ChatMessage,
  type ChatRequest,
  streamChat,
} from "../../client/chat_stream.ts";
import type { Session } from "../api/session.ts";

/** Settings for all answers: sampling and tools. */
export type ChatSettings = Pick<ChatRequest, "temperature" | "max_completion_tokens" | "tools">;

export interface AnswerListener {
  /** The model's worker is starting. */
  onLoading(): void;
  onText(text: string): void;
}

export class Conversation {
  #messages: ChatMessage[] = [];

  constructor(
    readonly session: Session,
    readonly model: string,
    readonly settings: ChatSettings,
    public system: string | null,
  ) {}

  /** Removes all messages except the system prompt. */
  reset(): void {
    this.#messages = [];
  }

  /**
   * Sends messages and returns the answer, which is added to the conversation. If it fails or is aborted, the conversation
   * is unchanged.
   */
  async send(messages: ChatMessage[], listener: AnswerListener, signal: AbortSignal): Promise<ChatAnswer> {
    const all = [...this.#messages, ...messages];
    const request: ChatRequest = {
      model: this.model,
      messages: this.system === null ? all : [{ role: "system", content: this.system }, ...all],
      ...this.settings,
    };
    const post = (body: string) =>
      this.session.fetch("/chat/completions", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        signal,
      });
    for await (const event of streamChat(post, request, signal)) {
      if (event.type === "loading") listener.onLoading();
      else if (event.type === "text") listener.onText(event.text);
      else {
        this.#messages = [...all, assistantMessage(event.answer)];
        return event.answer;
      }
    }
    throw new Error("The stream ended without an answer."); // streamChat ends with `finished` or throws
  }
}
