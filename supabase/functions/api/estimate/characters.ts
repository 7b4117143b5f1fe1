/** How many tokens a conversation has, by its characters: where no tokenizer is registered. */
import type { Turn } from "./conversation.ts";

/** Tokens of the whole conversation, and those of them that are learned. */
export interface Count {
  tokens: number;
  learned: number;
}
export type Counter = (turns: Turn[]) => Count;

/**
 * Without a tokenizer: four bytes of UTF-8 a token, and five tokens around a turn. Text lies between 2.5 (code, scripts
 * that the tokenizer hardly knows) and 6.2 bytes a token, by which the estimate's range is widened.
 */
export const countCharacters: Counter = (turns) => {
  const tokens = ({ content }: Turn) => Math.ceil(encoder.encode(content).length / 4);
  return {
    tokens: turns.reduce((sum, turn) => sum + tokens(turn) + 5, 0),
    learned: turns.reduce((sum, turn) => sum + (turn.learned ? tokens(turn) + 1 : 0), 0),
  };
};
const encoder = new TextEncoder();
