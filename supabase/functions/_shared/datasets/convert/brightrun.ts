/**
 * `brightrun-lora-v4`: JSONL with a header line `{"_meta": …}`, or one JSON document (`document.ts` extracts its rows). In
 * real files, the history's last entry repeats the current input, and some pairs have no target.
 */
import { type AddIssue, isObject, shown } from "../report.ts";
import {
  type Converter,
  isAbsent,
  type Message,
  optionalText,
  parseCell,
  requiredText,
  systemTurn,
} from "./fields.ts";

/** Checks the header's version. Returns the number of pairs that it declares. */
export function checkMeta(meta: unknown, field: string, addIssue: AddIssue): number | null {
  if (!isObject(meta)) {
    addIssue("wrong_version", field, "must be an object", "Export the file again.");
    return null;
  }
  const { version, total_pairs } = meta;
  if (version !== undefined && !String(version).startsWith("4.")) {
    addIssue(
      "wrong_version",
      `${field}.version`,
      `is ${shown(version)}`,
      "Only version 4 is supported; export the file as version 4.",
    );
  }
  return typeof total_pairs === "number" ? total_pairs : null;
}

const form = "Give current_user_input and target_response, and export the file again if they are missing.";
const turnForm = "Each turn has the role user or assistant, and content.";

/** The model learns only the target, not the history's answers. */
export const brightrun: Converter = {
  fields: ["system_prompt", "conversation_history", "current_user_input", "target_response"],
  convert(row, addIssue, isTable) {
    const input = requiredText(row, "current_user_input", form, addIssue);
    const system = optionalText(row, "system_prompt", form, addIssue);
    const history = historyTurns(parseCell(row.conversation_history), addIssue);
    const { target_response } = row;
    const hasTarget = isTable
      ? !isAbsent(target_response)
      : target_response !== null && target_response !== undefined;
    const target = hasTarget ? requiredText(row, "target_response", form, addIssue) : null;
    if (input === null || system === false || history === null || hasTarget && target === null) return null;
    const last = history.at(-1);
    if (last?.role === "user" && last.content === input) {
      history.pop();
      addIssue(
        "duplicate_turn",
        "conversation_history",
        "ends with the current input",
        "No action needed: the copy is dropped.",
      );
    }
    if (target === null) {
      addIssue("no_labels", "target_response", "is missing", "The row is skipped.");
      return "skipped";
    }
    return {
      messages: [
        ...systemTurn(system?.trim() ? system : null),
        ...history,
        { role: "user", content: input },
        { role: "assistant", content: target },
      ],
    };
  },
};

function historyTurns(history: unknown, addIssue: AddIssue): Message[] | null {
  if (isAbsent(history)) return [];
  if (!Array.isArray(history)) {
    addIssue(
      "source_field",
      "conversation_history",
      `is ${shown(history)}`,
      `It must be a list. ${turnForm}`,
    );
    return null;
  }
  const turns: Message[] = [];
  for (const [i, turn] of history.entries()) {
    const at = `conversation_history[${i}]`;
    if (!isObject(turn) || turn.role !== "user" && turn.role !== "assistant") {
      addIssue("source_field", at, `is ${shown(turn)}`, turnForm);
      return null;
    }
    const { role, content } = turn;
    if (typeof content !== "string" || content.trim() === "") {
      addIssue(
        "source_field",
        `${at}.content`,
        content === undefined ? "is missing" : `is ${shown(content)}`,
        "It must be a non-empty string.",
      );
      return null;
    }
    turns.push(role === "assistant" ? { role, content, weight: 0 } : { role, content });
  }
  return turns;
}
