/**
 * Validates tools: `tools` and `tool_calls`, and the older `functions` and `function_call`. `arguments` is a JSON-encoded
 * object; some programs encode it twice, which is accepted with a warning.
 */
import { countKeys } from "./duplicate_keys.ts";
import { type AddIssue, isObject, jsonText, maxDepth, shown } from "./report.ts";

const nameForm = /^[a-zA-Z0-9_.-]{1,64}$/;

/** Checks a row's tool declarations. Returns the declared names and the declarations' approximate length. */
export function checkRowTools(
  row: Record<string, unknown>,
  addIssue: AddIssue,
): { names: ReadonlySet<string> | null; chars: number } {
  const { tools, functions, parallel_tool_calls } = row;
  const names = new Set<string>();
  const declared = tools ?? functions ?? null;
  for (const [field, list] of [["tools", tools], ["functions", functions]] as const) {
    if (list === undefined || list === null) continue;
    if (!Array.isArray(list)) {
      addIssue("tools", field, "must be an array", "Declare each function that the conversation can call.");
      continue;
    }
    for (const [i, item] of list.entries()) {
      const at = field === "tools" ? `${field}[${i}].function` : `${field}[${i}]`;
      if (field === "tools" && (!isObject(item) || item.type !== "function")) {
        addIssue(
          "tools",
          `${field}[${i}].type`,
          `is ${shown(isObject(item) ? item.type : item)}`,
          'It must be "function".',
        );
        continue;
      }
      declare(field === "tools" && isObject(item) ? item.function : item, at, names, addIssue);
    }
  }
  if (
    parallel_tool_calls !== undefined && parallel_tool_calls !== null &&
    typeof parallel_tool_calls !== "boolean"
  ) {
    addIssue("tools", "parallel_tool_calls", `is ${shown(parallel_tool_calls)}`, "It must be true or false.");
  }
  return {
    names: declared === null ? null : names,
    chars: declared === null ? 0 : jsonText(declared).length,
  };
}

function declare(made: unknown, at: string, names: Set<string>, addIssue: AddIssue): void {
  if (!isObject(made)) {
    addIssue("tools", at, "must be an object", "Give it a name, a description and parameters.");
    return;
  }
  const { name, description, parameters } = made;
  if (typeof name !== "string" || !nameForm.test(name)) {
    addIssue(
      "tools",
      `${at}.name`,
      `is ${shown(name)}`,
      "It must have 1 to 64 characters from a–z A–Z 0–9 _ - .",
    );
  } else if (names.has(name)) {
    addIssue(
      "tools",
      `${at}.name`,
      `is ${shown(name)}, which is already declared`,
      "Declare each function once.",
    );
  } else names.add(name);
  if (description !== undefined && description !== null && typeof description !== "string") {
    addIssue("tools", `${at}.description`, `is ${shown(description)}`, "It must be a string.");
  }
  if (parameters !== undefined && parameters !== null && !isObject(parameters)) {
    addIssue("tools", `${at}.parameters`, `is ${shown(parameters)}`, "It must be an object (a JSON Schema).");
  }
}

/**
 * Matches tool calls with their responses: every call needs a tool message before the next turn. Calls at the end of a row
 * can be unanswered; then the call itself is trained on.
 */
export class ToolCallTracker {
  #asked = new Map<string, number>();
  #open = new Set<string>();
  /** The message with the open calls. */
  #at = 0;
  #reported = false;

  called(id: string, i: number, addIssue: AddIssue): void {
    this.#at = i;
    if (this.#asked.has(id)) {
      addIssue(
        "tool_calls",
        `messages[${i}].tool_calls`,
        `uses the id ${shown(id)} twice`,
        "Give each call a unique id.",
      );
    }
    this.#asked.set(id, i);
    this.#open.add(id);
  }

  answered(id: string, i: number, addIssue: AddIssue): void {
    if (!this.#asked.has(id)) {
      addIssue(
        "tool_answer",
        `messages[${i}].tool_call_id`,
        `is ${shown(id)}, but no earlier call has this id`,
        "It must be the id of a tool call in an earlier assistant message.",
      );
    }
    this.#open.delete(id);
  }

  /** Starts a turn that is not a tool response: all calls must be answered. */
  turn(addIssue: AddIssue): void {
    if (this.#open.size === 0 || this.#reported) return;
    this.#reported = true;
    addIssue(
      "tool_answer",
      `messages[${this.#at}].tool_calls`,
      `has calls without a response: ${[...this.#open].slice(0, 3).map(shown).join(", ")}`,
      "Add a tool message for each id, or remove the row.",
    );
  }
}

/** Checks a message's tool fields. Returns whether it has calls, so that it needs no content. */
export function checkToolMessage(
  message: Record<string, unknown>,
  i: number,
  tools: ReadonlySet<string> | null,
  answers: ToolCallTracker,
  addIssue: AddIssue,
): boolean {
  const { role, tool_calls, function_call, tool_call_id } = message;
  const at = `messages[${i}]`;
  if (role === "tool") {
    if (typeof tool_call_id === "string" && tool_call_id !== "") answers.answered(tool_call_id, i, addIssue);
    else {addIssue(
        "tool_answer",
        `${at}.tool_call_id`,
        `is ${shown(tool_call_id)}`,
        "It must be the id of the call that it responds to.",
      );}
  } else {
    answers.turn(addIssue);
    if (tool_call_id !== undefined && tool_call_id !== null) {
      addIssue(
        "tool_answer",
        `${at}.tool_call_id`,
        "is only allowed on tool messages",
        'Set the role to "tool", or remove it.',
      );
    }
  }
  if (role === "function" && (typeof message.name !== "string" || message.name === "")) {
    addIssue(
      "tool_answer",
      `${at}.name`,
      `is ${shown(message.name)}`,
      "It must be the name of the function that was called.",
    );
  }
  const calls = tool_calls !== undefined && tool_calls !== null ||
    function_call !== undefined && function_call !== null;
  if (!calls) return false;
  if (role !== "assistant") {
    addIssue(
      "tool_calls",
      at,
      "has a function call but is not an assistant message",
      "Only assistant messages can call functions.",
    );
    return true;
  }
  if (function_call !== undefined && function_call !== null) {
    checkCall(function_call, `${at}.function_call`, tools, addIssue);
  }
  if (tool_calls === undefined || tool_calls === null) return true;
  if (!Array.isArray(tool_calls) || tool_calls.length === 0) {
    addIssue(
      "tool_calls",
      `${at}.tool_calls`,
      "must be a non-empty array",
      "Remove it if there are no calls.",
    );
    return true;
  }
  for (const [j, call] of tool_calls.entries()) {
    const here = `${at}.tool_calls[${j}]`;
    if (!isObject(call)) {
      addIssue("tool_calls", here, "must be an object", 'Give it an id, the type "function", and function.');
      continue;
    }
    if (call.type !== undefined && call.type !== "function") {
      addIssue("tool_calls", `${here}.type`, `is ${shown(call.type)}`, 'It must be "function".');
    }
    if (typeof call.id === "string" && call.id !== "") answers.called(call.id, i, addIssue);
    else {addIssue(
        "tool_calls",
        `${here}.id`,
        `is ${shown(call.id)}`,
        "It must be a non-empty string, which the tool message repeats.",
      );}
    checkCall(call.function, `${here}.function`, tools, addIssue);
  }
  return true;
}

function checkCall(call: unknown, at: string, tools: ReadonlySet<string> | null, addIssue: AddIssue): void {
  if (!isObject(call) || typeof call.name !== "string") {
    addIssue("tool_calls", at, "must be an object with a name", "Give it a name and arguments.");
    return;
  }
  if (tools !== null && !tools.has(call.name)) {
    addIssue(
      "tool_calls",
      `${at}.name`,
      `is ${shown(call.name)}, which is not declared`,
      "Declare it in tools.",
    );
  }
  const args = call.arguments;
  const once = typeof args === "string" ? parsed(args) : undefined;
  const twice = typeof once === "string" ? parsed(once) : undefined;
  if (countKeys(once, maxDepth) === Infinity || countKeys(twice, maxDepth) === Infinity) {
    addIssue(
      "too_deep",
      `${at}.arguments`,
      `is nested more than ${maxDepth} levels deep`,
      "Encode deep structures as strings; the trainer's parser has this limit.",
    );
    return;
  }
  if (isObject(once)) return;
  if (isObject(twice)) {
    addIssue(
      "double_encoded_arguments",
      `${at}.arguments`,
      "is JSON-encoded twice",
      "It is decoded twice. Encode it only once.",
    );
    return;
  }
  addIssue(
    "tool_calls",
    `${at}.arguments`,
    `is ${shown(args)}`,
    'It must be a JSON-encoded object, such as "{\\"city\\": \\"Oslo\\"}".',
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // not JSON: the caller reports it
  }
}
