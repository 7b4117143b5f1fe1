/** A preference row, as OpenAI's: one conversation and two answers to it, of which one is better. */
import { checkConversation } from "./chat.ts";
import { didYouMean } from "./convert/near_miss.ts";
import { isObject, jsonText, type RowFacts, shown, type Tell } from "./report.ts";
import { checkRowTools } from "./tools.ts";

/** How a preference row is written, for messages. */
export const preferenceFormat = '{"input": {"messages": [{"role": "user", "content": "…"}]}, ' +
  '"preferred_output": [{"role": "assistant", "content": "…"}], ' +
  '"non_preferred_output": [{"role": "assistant", "content": "…"}]}';

const outputs = ["preferred_output", "non_preferred_output"] as const;
const rowFields = new Set<string>(["input", ...outputs]);
const inputFields = new Set(["messages", "tools", "parallel_tool_calls"]);
const write = `Write ${preferenceFormat}`;

/** Checks a row; null when nothing can be counted of it, which has been told. */
export function checkPreferenceRow(row: Record<string, unknown>, tell: Tell): RowFacts | null {
  unknownFields(row, rowFields, null, tell);
  const { input } = row;
  if (!isObject(input)) {
    tell("preference", "input", "must be an object with messages", write);
    return null;
  }
  unknownFields(input, inputFields, "input", tell);
  const { messages } = input;
  if (!Array.isArray(messages) || messages.length === 0) {
    tell("messages", "input.messages", "must be a list that is not empty", "Give at least one user message.");
    return null;
  }
  const tools = checkRowTools(input, within("input.", tell));
  const chars: number[] = [];
  let assistant = 0;
  let answerChars = 0;
  for (const name of outputs) {
    const answer = theAnswer(row[name], name, tell);
    if (answer === null) continue;
    const last = `messages[${messages.length}]`;
    // What both sides share is told once.
    const told: Tell = (code, field, what, fix) => {
      if (field?.startsWith(last)) tell(code, `${name}[0]${field.slice(last.length)}`, what, fix);
      else if (name === outputs[0]) tell(code, field === null ? null : `input.${field}`, what, fix);
    };
    const facts = checkConversation([...messages, answer], tools.names, told);
    const alone = checkConversation([answer], tools.names, () => {});
    chars.push(facts.chars + tools.chars);
    answerChars += alone.chars;
    assistant = Math.max(assistant, facts.assistant);
  }
  if (chars.length < outputs.length) return null;
  const same = jsonText(row.preferred_output) === jsonText(row.non_preferred_output);
  if (same) {
    tell(
      "same_answers",
      null,
      "has the same answer as preferred_output and non_preferred_output",
      "Nothing can be learned from it; it is skipped.",
    );
  }
  return {
    format: "preference",
    assistant: assistant + 1,
    learned: same ? 0 : 1,
    chars: chars.reduce((sum, side) => sum + side, 0),
    learnedChars: same ? 0 : answerChars,
    longestChars: Math.max(...chars),
    keys: null,
  };
}

function theAnswer(given: unknown, name: string, tell: Tell): Record<string, unknown> | null {
  const answer: unknown = Array.isArray(given) && given.length === 1 ? given[0] : null;
  if (!isObject(answer)) {
    tell("preference", name, "must be a list of one assistant message", write);
    return null;
  }
  if (answer.role !== "assistant") {
    tell(
      "role",
      `${name}[0].role`,
      answer.role === undefined ? "is missing" : `is ${shown(answer.role)}`,
      'It must be "assistant".',
    );
    return null;
  }
  if (answer.weight !== undefined && answer.weight !== null) {
    tell("weight", `${name}[0].weight`, "has no place in a preference row", "Leave it out.");
  }
  return answer;
}

function unknownFields(
  of: Record<string, unknown>,
  known: ReadonlySet<string>,
  field: string | null,
  tell: Tell,
): void {
  const unknown = Object.keys(of).filter((key) => !known.has(key) && of[key] !== null);
  if (unknown.length === 0) return;
  tell(
    "unknown_field",
    field,
    `has unknown fields: ${unknown.slice(0, 5).map(shown).join(", ")}`,
    `Known are ${[...known].join(", ")}; leave the others out.${didYouMean(unknown[0] ?? "", known)}`,
  );
}

const within = (prefix: string, tell: Tell): Tell => (code, field, what, fix) =>
  tell(code, field === null ? null : `${prefix}${field}`, what, fix);
