/**
 * `brightrun-lora-v4`: JSONL with a header line `{"_meta": …}`, or one JSON document (`document.ts` extracts its rows). In
 * real files, the history's last entry repeats the current input, and some pairs have no target.
 */
import { type AddIssue, addLoneSurrogate, isObject, type Reads, type RowFacts, shown } from "./report.ts";

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

export function checkBrightrunRow(row: Record<string, unknown>, reads: Reads, addIssue: AddIssue): RowFacts {
  if (!reads.brightrun) {
    addIssue(
      "unsupported",
      null,
      "is a brightrun-lora-v4 row, which is not supported",
      'Convert it to {"messages": […]}: the system prompt, the history, the input, and the target as the answer.',
    );
  }
  const { system_prompt, conversation_history, current_user_input, target_response } = row;
  let chars = 0;
  const text = (value: unknown, field: string, needed: boolean): number => {
    if (typeof value === "string" && (!needed || value.trim() !== "")) {
      if (!value.isWellFormed()) addLoneSurrogate(field, addIssue);
      return value.length;
    }
    if (needed || value !== null && value !== undefined) {
      addIssue("text", field, `is ${shown(value)}`, "It must be a non-empty string.");
    }
    return 0;
  };
  chars += text(system_prompt, "system_prompt", false) + text(current_user_input, "current_user_input", true);
  if (conversation_history !== undefined && conversation_history !== null) {
    chars += checkHistory(conversation_history, current_user_input, text, addIssue);
  }
  const hasTarget = target_response !== null && target_response !== undefined;
  const trainableChars = hasTarget ? text(target_response, "target_response", true) : 0;
  return {
    format: "brightrun-lora-v4",
    assistant: hasTarget ? 1 : 0,
    trainable: hasTarget ? 1 : 0,
    chars: chars + trainableChars,
    trainableChars,
    keys: null,
  };
}

function checkHistory(
  history: unknown,
  input: unknown,
  text: (value: unknown, field: string, needed: boolean) => number,
  addIssue: AddIssue,
): number {
  if (!Array.isArray(history)) {
    addIssue("history", "conversation_history", "must be an array", "Give each turn a role and content.");
    return 0;
  }
  let chars = 0;
  for (const [i, turn] of history.entries()) {
    const at = `conversation_history[${i}]`;
    if (!isObject(turn) || turn.role !== "user" && turn.role !== "assistant") {
      addIssue("history", at, "must have role user or assistant", "Give each turn a role and content.");
      continue;
    }
    chars += text(turn.content, `${at}.content`, true);
  }
  const last: unknown = history.at(-1);
  if (isObject(last) && last.role === "user" && last.content === input && typeof input === "string") {
    addIssue(
      "duplicate_turn",
      "conversation_history",
      "ends with the current input",
      "No action needed: the copy is dropped.",
    );
    chars -= input.length;
  }
  return chars;
}
