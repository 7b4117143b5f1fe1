/** Checks a canonical row: chat or preference. */
import { checkConversation } from "./chat.ts";
import { unknownFormat } from "./convert/detect.ts";
import { didYouMean } from "./convert/near_miss.ts";
import { checkPreferenceRow } from "./preference.ts";
import { checkRowTools } from "./tools.ts";
import { type AddIssue, isObject, type Reads, type RowFacts, shown } from "./report.ts";

export const formats =
  '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]} or ' +
  '{"prompt": "…", "completion": "…"}';

const toolFields = new Set(["tools", "functions", "function_call", "parallel_tool_calls", "tool_choice"]);
const chatFields = ["messages", "metadata", "tools", "parallel_tool_calls"];

/** Checks a row. Returns null, and adds an issue, if it is too malformed to count. */
export function checkRow(row: unknown, reads: Reads, addIssue: AddIssue): RowFacts | null {
  if (!isObject(row)) {
    addIssue("not_object", null, "must be a JSON object", `Each line must be ${formats}`);
    return null;
  }
  if ("messages" in row) return checkChatRow(row, reads, addIssue);
  if ("preferred_output" in row || "non_preferred_output" in row) return checkPreferenceRow(row, addIssue);
  addUnknownFormat(row, addIssue);
  return null;
}

function checkChatRow(row: Record<string, unknown>, reads: Reads, addIssue: AddIssue): RowFacts | null {
  const about = reads.tool_calls ? null : toolsIn(row);
  if (about !== null) {
    addIssue(
      "unsupported",
      null,
      `has ${about}; tool calls are not supported`,
      "Remove these rows.",
    );
    return null;
  }
  const others = Object.keys(row).filter((key) => key !== "messages");
  const unknown = others.filter((key) => key !== "metadata" && !toolFields.has(key) && row[key] !== null);
  if (unknown.length > 0) {
    addIssue(
      "unknown_field",
      null,
      `has unknown fields: ${unknown.slice(0, 5).map(shown).join(", ")}`,
      `Remove them. Allowed fields: messages, tools, parallel_tool_calls, metadata.${
        didYouMean(unknown[0] ?? "", chatFields)
      }`,
    );
  }
  const tools = others.length > 0 ? checkRowTools(row, addIssue) : null;
  const facts = checkConversation(row.messages, tools?.names ?? null, addIssue);
  return {
    format: "chat",
    assistant: facts.assistant,
    trainable: facts.trainable,
    chars: facts.chars + (tools?.chars ?? 0),
    trainableChars: facts.trainableChars,
    keys: tools === null && facts.keys !== null ? facts.keys + 1 : null,
  };
}

/** What in a row concerns tools, for the message. Ignores null, which programs write for unused fields. */
function toolsIn(row: Record<string, unknown>): string | null {
  for (const key in row) if (toolFields.has(key) && row[key] !== null) return key;
  const { messages } = row;
  if (!Array.isArray(messages)) return null;
  for (const message of messages) {
    if (!isObject(message)) continue;
    const { role, tool_calls, function_call } = message;
    if (role === "tool" || role === "function") return `a message of role "${role}"`;
    if (tool_calls) return "tool_calls";
    if (function_call) return "function_call";
  }
  return null;
}

/** Files in other tools' formats are converted, so the remaining rows are misspelled or of an unknown format. */
function addUnknownFormat(row: Record<string, unknown>, addIssue: AddIssue): void {
  const { code, what, fix } = "custom_id" in row
    ? {
      code: "unknown_format" as const,
      what: "has an unknown format",
      fix: "This is a batch request. Use its messages, and add the answer to train on.",
    }
    : unknownFormat(Object.keys(row), "fields");
  addIssue(code, null, what, fix);
}
