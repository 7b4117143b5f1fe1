/** Validates the messages of a chat row: roles, content, weights and names. tools.ts validates tool calls. */
import { didYouMean } from "./convert/near_miss.ts";
import { type AddIssue, addLoneSurrogate, isObject, jsonText, shown } from "./report.ts";
import { checkToolMessage, ToolCallTracker } from "./tools.ts";

export interface ConversationFacts {
  assistant: number;
  trainable: number;
  chars: number;
  trainableChars: number;
  keys: number | null;
}

const fields = new Set(["role", "content", "name", "weight"]);
const toolFields = new Set(["tool_calls", "tool_call_id", "function_call"]);
/** Fields of chat completion responses. They are ignored if they are empty. */
const responseFields = new Set(["refusal", "audio", "annotations"]);

/** Text part types of Chat Completions and of the Responses API. */
const textTypes = new Set(["text", "input_text", "output_text"]);

/** Checks `messages`. `tools`: the function names that the row declares; null if it declares none. */
export function checkConversation(
  messages: unknown,
  tools: ReadonlySet<string> | null,
  addIssue: AddIssue,
): ConversationFacts {
  const facts: ConversationFacts = { assistant: 0, trainable: 0, chars: 0, trainableChars: 0, keys: null };
  if (!Array.isArray(messages) || messages.length === 0) {
    addIssue(
      "messages",
      "messages",
      "must be a non-empty array",
      "Add at least one assistant message.",
    );
    return facts;
  }
  let users = 0;
  let hasUnknownRole = false;
  let keys: number | null = 0;
  let before: unknown = null;
  let repeated = -1;
  const answers = new ToolCallTracker();
  for (let i = 0; i < messages.length; i++) {
    const message: unknown = messages[i];
    if (!isObject(message)) {
      keys = null;
      addIssue("messages", `messages[${i}]`, "must be an object", "Give it a role and content.");
      continue;
    }
    const { role } = message;
    let tool = role === "tool" || role === "function";
    let unknown: string | null = null;
    for (const key in message) {
      const value = message[key];
      if (keys !== null) keys = typeof value === "object" && value !== null ? null : keys + 1;
      if (fields.has(key)) continue;
      if (toolFields.has(key)) {
        if (value !== null) tool = true;
      } else if (value !== null && !(responseFields.has(key) && isEmptyList(value))) unknown ??= key;
    }
    if (!checkRole(role, i, addIssue)) {
      hasUnknownRole = true;
      continue;
    }
    if (unknown !== null) {
      addIssue(
        "unknown_field",
        `messages[${i}]`,
        `has unknown fields: ${shown(unknown)}`,
        `Remove them. Allowed fields: role, content, name, weight, tool_calls, tool_call_id.${
          didYouMean(unknown, [...fields, ...toolFields])
        }`,
      );
    }
    if (!tool) answers.turn(addIssue);
    const calls = tool && checkToolMessage(message, i, tools, answers, addIssue);
    const chars = contentLength(message.content, i, calls || tool && role !== "assistant", addIssue) +
      (tool ? calledChars(message) : 0);
    facts.chars += chars;
    if (message.name !== undefined && message.name !== null) checkName(message.name, i, addIssue);
    const { weight } = message;
    if (weight !== undefined && weight !== null) checkWeight(weight, role, i, addIssue);
    if (role === "assistant") {
      facts.assistant += 1;
      if (weight !== 0) {
        facts.trainable += 1;
        facts.trainableChars += chars;
      }
    } else if (role === "user") users += 1;
    if (role === before && (role === "user" || role === "assistant") && repeated < 0) repeated = i;
    before = role;
  }
  facts.keys = keys;
  // A mistyped role is one problem, not two.
  if (hasUnknownRole) return facts;
  if (facts.assistant === 0) {
    addIssue(
      "no_assistant",
      null,
      "has no assistant message",
      "Add one, or remove the row.",
    );
  } else if (facts.trainable === 0) {
    addIssue(
      "no_labels",
      null,
      "has no trainable message: every assistant message has weight 0",
      "The row is skipped. Set a weight to 1, or remove the row.",
    );
  }
  if (users === 0) {
    addIssue(
      "no_user",
      "messages",
      "has no user message",
      "The row is used as is. Check that no question is missing.",
    );
  }
  if (repeated >= 0) {
    addIssue(
      "consecutive_roles",
      `messages[${repeated}].role`,
      "is the same as in the previous message",
      "Some chat templates require user and assistant to alternate. If training reports that, merge the two messages.",
    );
  }
  if (facts.trainable > 0 && before === "user") {
    addIssue(
      "trailing_user_turn",
      "messages",
      "ends with a user message",
      "Messages after the last answer are not trained on; remove them.",
    );
  }
  return facts;
}

function checkRole(role: unknown, i: number, addIssue: AddIssue): role is string {
  if (
    role === "system" || role === "user" || role === "assistant" || role === "tool" || role === "function"
  ) {
    return true;
  }
  const fix = role === "developer" ? 'Use "system" instead.' : "It must be system, user, assistant or tool.";
  const meant = typeof role === "string" && role !== "developer"
    ? didYouMean(role, ["system", "user", "assistant", "tool"])
    : "";
  addIssue(
    "role",
    `messages[${i}].role`,
    role === undefined ? "is missing" : `is ${shown(role)}`,
    fix + meant,
  );
  return false;
}

/** The length of a message's text. It can be empty only if the message has tool calls or is a tool's response. */
function contentLength(content: unknown, i: number, mayBeEmpty: boolean, addIssue: AddIssue): number {
  const field = `messages[${i}].content`;
  if (typeof content === "string") {
    if (!mayBeEmpty && content.trim() === "") empty(field, addIssue);
    else if (!content.isWellFormed()) addLoneSurrogate(field, addIssue);
    return content.length;
  }
  if (mayBeEmpty && (content === null || content === undefined)) return 0;
  if (!Array.isArray(content) || content.length === 0 && !mayBeEmpty) {
    empty(field, addIssue);
    return 0;
  }
  let length = 0;
  for (const [j, part] of content.entries()) {
    if (isTextPart(part) && (mayBeEmpty || part.text !== "")) {
      length += part.text.length;
      if (!part.text.isWellFormed()) addLoneSurrogate(`${field}[${j}].text`, addIssue);
    } else if (isObject(part) && typeof part.type === "string" && !textTypes.has(part.type)) {
      addIssue(
        "content",
        `${field}[${j}]`,
        `is of type ${shown(part.type)}`,
        "Only text is supported; remove these rows.",
      );
    } else empty(`${field}[${j}]`, addIssue);
  }
  return length;
}

function isTextPart(part: unknown): part is { text: string } {
  return isObject(part) && typeof part.type === "string" && textTypes.has(part.type) &&
    typeof part.text === "string";
}

function empty(field: string, addIssue: AddIssue): void {
  addIssue(
    "content",
    field,
    "must be a non-empty string or an array of text parts",
    "Add text, or remove the message.",
  );
}

function checkName(name: unknown, i: number, addIssue: AddIssue): void {
  if (typeof name !== "string" || name === "") {
    addIssue(
      "name",
      `messages[${i}].name`,
      `is ${shown(name)}`,
      "It must be a non-empty string, or omitted.",
    );
  }
}

function checkWeight(weight: unknown, role: string, i: number, addIssue: AddIssue): void {
  if (role !== "assistant" || (weight !== 0 && weight !== 1)) {
    addIssue(
      "weight",
      `messages[${i}].weight`,
      `is ${shown(weight)}`,
      "It must be 0 or 1, and only on assistant messages.",
    );
  }
}

/** The approximate length of a message's tool calls. */
function calledChars(message: Record<string, unknown>): number {
  const { tool_calls, function_call } = message;
  return (tool_calls ? jsonText(tool_calls).length : 0) +
    (function_call ? jsonText(function_call).length : 0);
}

const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0;
