/** Estimates the tokens of a conversation from its characters, for models without a registered tokenizer. */
import type { Conversation, Turn } from "./conversation.ts";

/** Tokens of a conversation, and how many of them are trainable. */
export interface Count {
  tokens: number;
  trainable: number;
}
export type Counter = (conversation: Conversation) => Count;

/**
 * Many templates add a system prompt of their own if a conversation has none: SmolLM2 one of 21 tokens with its markup,
 * others none.
 */
const defaultSystemPrompt = 12;

/**
 * Four bytes of UTF-8 per token, and five tokens of template per turn. Actual text has between 2.5 (code, rare scripts) and
 * 6.2 bytes per token, which widens the estimate's range.
 */
export const countCharacters: Counter = ({ turns, tools }) => {
  const count = (text: string) => Math.ceil(encoder.encode(text).length / 4);
  const tokens = (turn: Turn) => count(turn.content + called(turn));
  return {
    tokens: turns.reduce((sum, turn) => sum + tokens(turn) + 5, 0) +
      (turns.some(({ role }) => role === "system" || role === "developer") ? 0 : defaultSystemPrompt) +
      (tools.length > 0 ? count(JSON.stringify(tools)) : 0),
    trainable: turns.reduce((sum, turn) => sum + (turn.trainable ? tokens(turn) + 1 : 0), 0),
  };
};
const encoder = new TextEncoder();

/** A turn's tool calls, as text of about the length that the template renders. */
export const called = ({ tool_calls }: Turn) => tool_calls === undefined ? "" : JSON.stringify(tool_calls);
