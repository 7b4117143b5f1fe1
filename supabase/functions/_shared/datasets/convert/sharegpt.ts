/** ShareGPT's turns: `{"from": "human", "value": "…"}`, with LLaMA-Factory's calls and observations. */
import { type AddIssue, isObject, shown } from "../report.ts";
import { areMessages, type Message, parseCell } from "./fields.ts";
import { didYouMean } from "./near_miss.ts";

/** A map, not an object: a row may say "constructor". */
const roles = new Map([
  ["human", "user"],
  ["user", "user"],
  ["gpt", "assistant"],
  ["chatgpt", "assistant"],
  ["assistant", "assistant"],
  ["model", "assistant"],
  ["bot", "assistant"],
  ["system", "system"],
  ["function_call", "assistant"],
  ["observation", "tool"],
  ["tool", "tool"],
]);

/** Converts turns to messages; null if a turn is invalid, which is reported. Turns that already have roles are unchanged. */
export function shareGptTurns(turns: unknown, field: string, addIssue: AddIssue): Message[] | null {
  if (areMessages(turns)) return turns;
  if (!Array.isArray(turns) || turns.length === 0) {
    addIssue(
      "source_field",
      field,
      turns === undefined ? "is missing" : `is ${shown(turns)}`,
      "Give a list of turns with from and value.",
    );
    return null;
  }
  const messages: Message[] = [];
  let calls = 0;
  /** IDs of the calls without an observation so far. */
  let open: string[] = [];
  for (const [i, turn] of turns.entries()) {
    const at = `${field}[${i}]`;
    if (!isObject(turn)) {
      addIssue("source_field", at, `is ${shown(turn)}`, "It must be an object with from and value.");
      return null;
    }
    const { from, value } = turn;
    const speaker = typeof from === "string" ? from.trim().toLowerCase() : "";
    const role = roles.get(speaker);
    if (role === undefined) {
      const meant = didYouMean(speaker, roles.keys());
      addIssue(
        "source_field",
        `${at}.from`,
        from === undefined ? "is missing" : `is ${shown(from)}`,
        `It must be human, gpt or system (or function_call, observation).${meant}`,
      );
      return null;
    }
    if (typeof value !== "string") {
      addIssue(
        "source_field",
        `${at}.value`,
        value === undefined ? "is missing" : `is ${shown(value)}`,
        "It must be a string.",
      );
      return null;
    }
    const weight = turn.weight === undefined || turn.weight === null ? {} : { weight: turn.weight };
    if (speaker === "function_call") {
      const made = toolCalls(value, calls);
      if (made === null) {
        addIssue(
          "source_field",
          `${at}.value`,
          `is ${shown(value)}`,
          'It must be the JSON of a call: {"name": "…", "arguments": {…}}.',
        );
        return null;
      }
      calls += made.length;
      open = made.map(({ id }) => id);
      messages.push({ role, content: null, tool_calls: made, ...weight });
    } else if (role === "tool") {
      const id = open.shift();
      if (id === undefined) {
        addIssue(
          "source_field",
          at,
          "answers no function_call before it",
          "Put the call before its observation.",
        );
        return null;
      }
      messages.push({ role, tool_call_id: id, content: value });
    } else messages.push({ role, content: value, ...weight });
  }
  return messages;
}

/** Parses one call or a list of calls. `before`: the number of earlier calls in the row, for their IDs. */
function toolCalls(text: string, before: number) {
  const value = parseCell(text);
  const calls: unknown[] = Array.isArray(value) ? value : [value];
  const made = [];
  for (const call of calls) {
    if (!isObject(call) || typeof call.name !== "string") return null;
    const { name, arguments: args } = call;
    made.push({
      id: `call_${before + made.length + 1}`,
      type: "function",
      function: { name, arguments: typeof args === "string" ? args : JSON.stringify(args ?? {}) },
    });
  }
  return made.length === 0 ? null : made;
}
