/** A preference row, as OpenAI's: one conversation and two answers to it, of which one is better. */
import { checkConversation } from "./chat.ts";
import { didYouMean } from "./convert/near_miss.ts";
import { type AddIssue, isObject, jsonText, type RowFacts, shown } from "./report.ts";
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
export function checkPreferenceRow(row: Record<string, unknown>, addIssue: AddIssue): RowFacts | null {
  unknownFields(row, rowFields, null, addIssue);
  const { input } = row;
  if (!isObject(input)) {
    addIssue("preference", "input", "must be an object with messages", write);
    return null;
  }
  unknownFields(input, inputFields, "input", addIssue);
  const { messages } = input;
  if (!Array.isArray(messages) || messages.length === 0) {
    addIssue(
      "messages",
      "input.messages",
      "must be a list that is not empty",
      "Give at least one user message.",
    );
    return null;
  }
  const tools = checkRowTools(input, within("input.", addIssue));
  const chars: number[] = [];
  let assistant = 0;
  let answerChars = 0;
  for (const name of outputs) {
    const answer = theAnswer(row[name], name, addIssue);
    if (answer === null) continue;
    const last = `messages[${messages.length}]`;
    // What both sides share is told once.
    const addSideIssue: AddIssue = (code, field, what, fix) => {
      if (field?.startsWith(last)) addIssue(code, `${name}[0]${field.slice(last.length)}`, what, fix);
      else if (name === outputs[0]) addIssue(code, field === null ? null : `input.${field}`, what, fix);
    };
    const facts = checkConversation([...messages, answer], tools.names, addSideIssue);
    const alone = checkConversation([answer], tools.names, () => {});
    chars.push(facts.chars + tools.chars);
    answerChars += alone.chars;
    assistant = Math.max(assistant, facts.assistant);
  }
  if (chars.length < outputs.length) return null;
  const same = jsonText(row.preferred_output) === jsonText(row.non_preferred_output);
  if (same) {
    addIssue(
      "same_answers",
      null,
      "has the same answer as preferred_output and non_preferred_output",
      "Nothing can be learned from it; it is skipped.",
    );
  }
  return {
    format: "preference",
    assistant: assistant + 1,
    trainable: same ? 0 : 1,
    chars: chars.reduce((sum, side) => sum + side, 0),
    trainableChars: same ? 0 : answerChars,
    longestChars: Math.max(...chars),
    keys: null,
  };
}

function theAnswer(given: unknown, name: string, addIssue: AddIssue): Record<string, unknown> | null {
  const answer: unknown = Array.isArray(given) && given.length === 1 ? given[0] : null;
  if (!isObject(answer)) {
    addIssue("preference", name, "must be a list of one assistant message", write);
    return null;
  }
  if (answer.role !== "assistant") {
    addIssue(
      "role",
      `${name}[0].role`,
      answer.role === undefined ? "is missing" : `is ${shown(answer.role)}`,
      'It must be "assistant".',
    );
    return null;
  }
  if (answer.weight !== undefined && answer.weight !== null) {
    addIssue("weight", `${name}[0].weight`, "has no place in a preference row", "Leave it out.");
  }
  return answer;
}

function unknownFields(
  of: Record<string, unknown>,
  known: ReadonlySet<string>,
  field: string | null,
  addIssue: AddIssue,
): void {
  const unknown = Object.keys(of).filter((key) => !known.has(key) && of[key] !== null);
  if (unknown.length === 0) return;
  addIssue(
    "unknown_field",
    field,
    `has unknown fields: ${unknown.slice(0, 5).map(shown).join(", ")}`,
    `Known are ${[...known].join(", ")}; leave the others out.${didYouMean(unknown[0] ?? "", known)}`,
  );
}

const within = (prefix: string, addIssue: AddIssue): AddIssue => (code, field, what, fix) =>
  addIssue(code, field === null ? null : `${prefix}${field}`, what, fix);
