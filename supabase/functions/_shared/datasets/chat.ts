/** The messages of a chat row: roles, contents, weights, names; what belongs to tools is checked in tools.ts. */
import { didYouMean } from "./convert/near_miss.ts";
import { halfCharacter, isObject, jsonText, shown, type Tell } from "./report.ts";
import { AnswersToCalls, checkToolMessage } from "./tools.ts";

export interface ConversationFacts {
  assistant: number;
  learned: number;
  chars: number;
  learnedChars: number;
  keys: number | null;
}

const fields = new Set(["role", "content", "name", "weight"]);
const toolFields = new Set(["tool_calls", "tool_call_id", "function_call"]);
/** What chat completions' answers carry beside; nothing is in them to train on. */
const answerFields = new Set(["refusal", "audio", "annotations"]);

/** Chat completions' parts, and those of the Responses API, which are the same text. */
const textTypes = new Set(["text", "input_text", "output_text"]);

/** Checks `messages`. `tools` are the names that the row declares, null when it declares none. */
export function checkConversation(
  messages: unknown,
  tools: ReadonlySet<string> | null,
  tell: Tell,
): ConversationFacts {
  const facts: ConversationFacts = { assistant: 0, learned: 0, chars: 0, learnedChars: 0, keys: null };
  if (!Array.isArray(messages) || messages.length === 0) {
    tell("messages", "messages", "must be a list that is not empty", "Give at least one assistant message.");
    return facts;
  }
  let users = 0;
  let keys: number | null = 0;
  let before: unknown = null;
  let repeated = -1;
  const answers = new AnswersToCalls();
  for (let i = 0; i < messages.length; i++) {
    const message: unknown = messages[i];
    if (!isObject(message)) {
      keys = null;
      tell("messages", `messages[${i}]`, "must be an object", "Give it a role and content.");
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
      } else if (value !== null && !(answerFields.has(key) && isEmptyList(value))) unknown ??= key;
    }
    if (!checkRole(role, i, tell)) continue;
    if (unknown !== null) {
      tell(
        "unknown_field",
        `messages[${i}]`,
        `has unknown fields: ${shown(unknown)}`,
        `Known are role, content, name, weight, tool_calls and tool_call_id; leave the others out.${
          didYouMean(unknown, [...fields, ...toolFields])
        }`,
      );
    }
    if (!tool) answers.turn(tell);
    const calls = tool && checkToolMessage(message, i, tools, answers, tell);
    const chars = contentLength(message.content, i, calls || tool && role !== "assistant", tell) +
      (tool ? calledChars(message) : 0);
    facts.chars += chars;
    if (message.name !== undefined && message.name !== null) checkName(message.name, i, tell);
    const { weight } = message;
    if (weight !== undefined && weight !== null) checkWeight(weight, role, i, tell);
    if (role === "assistant") {
      facts.assistant += 1;
      if (weight !== 0) {
        facts.learned += 1;
        facts.learnedChars += chars;
      }
    } else if (role === "user") users += 1;
    if (role === before && (role === "user" || role === "assistant") && repeated < 0) repeated = i;
    before = role;
  }
  facts.keys = keys;
  if (facts.assistant === 0) {
    tell(
      "no_assistant",
      null,
      "has no assistant message to learn from",
      "Add one, or leave the row out.",
    );
  } else if (facts.learned === 0) {
    tell(
      "no_labels",
      null,
      "has no assistant message to learn from: the weight of each is 0",
      "Give one the weight 1, or leave the row out; it is skipped.",
    );
  }
  if (users === 0) {
    tell("no_user", "messages", "have no user turn", "Is a question missing? It is trained on as it is.");
  }
  if (repeated >= 0) {
    tell(
      "consecutive_roles",
      `messages[${repeated}].role`,
      "is the same as of the message before",
      "Some models' templates want user and assistant in turn; join the two messages if training says so.",
    );
  }
  if (facts.learned > 0 && before === "user") {
    tell(
      "trailing_user_turn",
      "messages",
      "end with a user's turn",
      "What follows the last answer is not learned from; leave it out.",
    );
  }
  return facts;
}

function checkRole(role: unknown, i: number, tell: Tell): role is string {
  if (
    role === "system" || role === "user" || role === "assistant" || role === "tool" || role === "function"
  ) {
    return true;
  }
  const fix = role === "developer"
    ? 'It must be system, user or assistant; write "system".'
    : role === undefined
    ? "It must be system, user, assistant or tool."
    : "It must be system, user or assistant (or tool, in a row with tools).";
  const meant = typeof role === "string" && role !== "developer"
    ? didYouMean(role, ["system", "user", "assistant", "tool"])
    : "";
  tell("role", `messages[${i}].role`, role === undefined ? "is missing" : `is ${shown(role)}`, fix + meant);
  return false;
}

/** The length of a content's text. It must not be empty, unless calls stand in its place or a tool said nothing. */
function contentLength(content: unknown, i: number, mayBeEmpty: boolean, tell: Tell): number {
  const field = `messages[${i}].content`;
  if (typeof content === "string") {
    if (!mayBeEmpty && content.trim() === "") empty(field, tell);
    else if (!content.isWellFormed()) halfCharacter(field, tell);
    return content.length;
  }
  if (mayBeEmpty && (content === null || content === undefined)) return 0;
  if (!Array.isArray(content) || content.length === 0 && !mayBeEmpty) {
    empty(field, tell);
    return 0;
  }
  let length = 0;
  for (const [j, part] of content.entries()) {
    if (isTextPart(part) && (mayBeEmpty || part.text !== "")) {
      length += part.text.length;
      if (!part.text.isWellFormed()) halfCharacter(`${field}[${j}].text`, tell);
    } else if (isObject(part) && typeof part.type === "string" && !textTypes.has(part.type)) {
      tell(
        "content",
        `${field}[${j}]`,
        `is of type ${shown(part.type)}`,
        "Only text can be trained on; leave these rows out.",
      );
    } else empty(`${field}[${j}]`, tell);
  }
  return length;
}

function isTextPart(part: unknown): part is { text: string } {
  return isObject(part) && typeof part.type === "string" && textTypes.has(part.type) &&
    typeof part.text === "string";
}

function empty(field: string, tell: Tell): void {
  tell(
    "content",
    field,
    "must be a text that is not empty, or a list of text parts",
    "Fill it, or leave the message out.",
  );
}

function checkName(name: unknown, i: number, tell: Tell): void {
  if (typeof name !== "string" || name === "") {
    tell(
      "name",
      `messages[${i}].name`,
      `is ${shown(name)}`,
      "It must be a text that is not empty; or leave it out.",
    );
  }
}

function checkWeight(weight: unknown, role: string, i: number, tell: Tell): void {
  if (role !== "assistant" || (weight !== 0 && weight !== 1)) {
    tell(
      "weight",
      `messages[${i}].weight`,
      `is ${shown(weight)}`,
      "It must be 0 or 1, on an assistant's message.",
    );
  }
}

/** About how much text the calls of a message are. */
function calledChars(message: Record<string, unknown>): number {
  const { tool_calls, function_call } = message;
  return (tool_calls ? jsonText(tool_calls).length : 0) +
    (function_call ? jsonText(function_call).length : 0);
}

const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0;
