/** Preference rows in OpenAI's format: a conversation with a preferred and a non-preferred answer. */
import { checkConversation } from "./chat.ts";
import { didYouMean } from "./convert/near_miss.ts";
import { type AddIssue, isObject, jsonText, type RowFacts, shown } from "./report.ts";
import { checkRowTools } from "./tools.ts";

/** An example of the format, for error messages. */
export const preferenceFormat = '{"input": {"messages": [{"role": "user", "content": "…"}]}, ' +
  '"preferred_output": [{"role": "assistant", "content": "…"}], ' +
  '"non_preferred_output": [{"role": "assistant", "content": "…"}]}';

const outputs = ["preferred_output", "non_preferred_output"] as const;
const rowFields = new Set<string>(["input", ...outputs]);
const inputFields = new Set(["messages", "tools", "parallel_tool_calls"]);
const useFormat = `Use the format ${preferenceFormat}`;

/** Checks a row. Returns null, and adds an issue, if it is too malformed to count. */
export function checkPreferenceRow(row: Record<string, unknown>, addIssue: AddIssue): RowFacts | null {
  unknownFields(row, rowFields, null, addIssue);
  const { input } = row;
  if (!isObject(input)) {
    addIssue("preference", "input", "must be an object with messages", useFormat);
    return null;
  }
  unknownFields(input, inputFields, "input", addIssue);
  const { messages } = input;
  if (!Array.isArray(messages) || messages.length === 0) {
    addIssue(
      "messages",
      "input.messages",
      "must be a non-empty array",
      "Add at least one user message.",
    );
    return null;
  }
  const tools = checkRowTools(input, within("input.", addIssue));
  const chars: number[] = [];
  let assistant = 0;
  let answerChars = 0;
  for (const name of outputs) {
    const answer = parseAnswer(row[name], name, addIssue);
    if (answer === null) continue;
    const last = `messages[${messages.length}]`;
    // Issues of the shared messages are added only once.
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
      "has the same text in preferred_output and non_preferred_output",
      "The row is skipped. Fix or remove it.",
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

function parseAnswer(given: unknown, name: string, addIssue: AddIssue): Record<string, unknown> | null {
  const answer: unknown = Array.isArray(given) && given.length === 1 ? given[0] : null;
  if (!isObject(answer)) {
    addIssue("preference", name, "must be an array with one assistant message", useFormat);
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
    addIssue("weight", `${name}[0].weight`, "is not allowed in preference rows", "Remove it.");
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
    `Remove them. Allowed fields: ${[...known].join(", ")}.${didYouMean(unknown[0] ?? "", known)}`,
  );
}

const within = (prefix: string, addIssue: AddIssue): AddIssue => (code, field, what, fix) =>
  addIssue(code, field === null ? null : `${prefix}${field}`, what, fix);
