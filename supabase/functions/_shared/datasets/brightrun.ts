/**
 * `brightrun-lora-v4`: JSONL with a header line `{"_meta": …}`, or one JSON document (`document.ts` takes its rows out).
 * In real files the history's last entry repeats the current input, and pairs without a target stand among the others.
 */
import { halfCharacter, isObject, type Reads, type RowFacts, shown, type Tell } from "./report.ts";

/** The header: how many pairs it announces, and its version. */
export function checkMeta(meta: unknown, field: string, tell: Tell): number | null {
  if (!isObject(meta)) {
    tell("wrong_version", field, "must be an object", "Export the file again.");
    return null;
  }
  const { version, total_pairs } = meta;
  if (version !== undefined && !String(version).startsWith("4.")) {
    tell(
      "wrong_version",
      `${field}.version`,
      `is ${shown(version)}`,
      "Only version 4 is read; export it as version 4.",
    );
  }
  return typeof total_pairs === "number" ? total_pairs : null;
}

export function checkBrightrunRow(row: Record<string, unknown>, reads: Reads, tell: Tell): RowFacts {
  if (!reads.brightrun) {
    tell(
      "unsupported",
      null,
      "is a brightrun-lora-v4 row, which cannot be trained on yet",
      'Write it as {"messages": […]}: the system prompt, the history, the input, and the target as the answer.',
    );
  }
  const { system_prompt, conversation_history, current_user_input, target_response } = row;
  let chars = 0;
  const text = (value: unknown, field: string, needed: boolean): number => {
    if (typeof value === "string" && (!needed || value.trim() !== "")) {
      if (!value.isWellFormed()) halfCharacter(field, tell);
      return value.length;
    }
    if (needed || value !== null && value !== undefined) {
      tell("text", field, `is ${shown(value)}`, "It must be a text that is not empty.");
    }
    return 0;
  };
  chars += text(system_prompt, "system_prompt", false) + text(current_user_input, "current_user_input", true);
  if (conversation_history !== undefined && conversation_history !== null) {
    chars += checkHistory(conversation_history, current_user_input, text, tell);
  }
  const hasTarget = target_response !== null && target_response !== undefined;
  const learnedChars = hasTarget ? text(target_response, "target_response", true) : 0;
  return {
    format: "brightrun-lora-v4",
    assistant: hasTarget ? 1 : 0,
    learned: hasTarget ? 1 : 0,
    chars: chars + learnedChars,
    learnedChars,
    keys: null,
  };
}

function checkHistory(
  history: unknown,
  input: unknown,
  text: (value: unknown, field: string, needed: boolean) => number,
  tell: Tell,
): number {
  if (!Array.isArray(history)) {
    tell("history", "conversation_history", "must be a list", "Give each turn a role and content.");
    return 0;
  }
  let chars = 0;
  for (const [i, turn] of history.entries()) {
    const at = `conversation_history[${i}]`;
    if (!isObject(turn) || turn.role !== "user" && turn.role !== "assistant") {
      tell("history", at, "must have the role user or assistant", "Give each turn a role and content.");
      continue;
    }
    chars += text(turn.content, `${at}.content`, true);
  }
  const last: unknown = history.at(-1);
  if (isObject(last) && last.role === "user" && last.content === input && typeof input === "string") {
    tell(
      "duplicate_turn",
      "conversation_history",
      "end with the current input",
      "Nothing to do: the copy is dropped.",
    );
    chars -= input.length;
  }
  return chars;
}
