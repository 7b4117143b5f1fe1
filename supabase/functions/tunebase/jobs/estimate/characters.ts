/** How many tokens a conversation has, by its characters: where no tokenizer is registered. */
import type { Conversation, Turn } from "./conversation.ts";

/** Tokens of the whole conversation, and those of them that are learned. */
export interface Count {
  tokens: number;
  learned: number;
}
export type Counter = (conversation: Conversation) => Count;

/**
 * Without a tokenizer: four bytes of UTF-8 a token, and five tokens around a turn. Text lies between 2.5 (code, scripts
 * that the tokenizer hardly knows) and 6.2 bytes a token, by which the estimate's range is widened.
 */
export const countCharacters: Counter = ({ turns, tools }) => {
  const count = (text: string) => Math.ceil(encoder.encode(text).length / 4);
  const tokens = (turn: Turn) => count(turn.content + called(turn));
  return {
    tokens: turns.reduce((sum, turn) => sum + tokens(turn) + 5, 0) +
      (tools.length > 0 ? count(JSON.stringify(tools)) : 0),
    learned: turns.reduce((sum, turn) => sum + (turn.learned ? tokens(turn) + 1 : 0), 0),
  };
};
const encoder = new TextEncoder();

/** What a turn calls, as a text about as long as the template makes of it. */
export const called = ({ tool_calls }: Turn) => tool_calls === undefined ? "" : JSON.stringify(tool_calls);
