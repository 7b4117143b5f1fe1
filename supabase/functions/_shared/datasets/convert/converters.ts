/** One converter per source format: turns a row of another tool into a canonical chat or preference row. */
import { type AddIssue, isObject, jsonText, shown } from "../report.ts";
import { brightrun } from "./brightrun.ts";
import {
  areMessages,
  type Converter,
  isAbsent,
  type Message,
  optionalText,
  parseCell,
  requiredText,
  type Row,
  systemTurn,
} from "./fields.ts";
import { shareGptTurns } from "./sharegpt.ts";

const alpacaForm = "An Alpaca row has instruction and output, and optionally input, system and history.";

/** Alpaca: an instruction, an optional input, and the output; with LLaMA-Factory's `system` and `history`. */
const alpaca: Converter = {
  fields: ["instruction", "input", "output", "system", "history"],
  convert(row, addIssue) {
    const instruction = requiredText(row, "instruction", alpacaForm, addIssue);
    const output = requiredText(row, "output", alpacaForm, addIssue);
    const input = optionalText(row, "input", alpacaForm, addIssue);
    const system = optionalText(row, "system", alpacaForm, addIssue);
    const history = historyTurns(parseCell(row.history), addIssue);
    if (instruction === null || output === null || input === false || system === false || history === null) {
      return null;
    }
    return {
      messages: [
        ...systemTurn(system),
        ...history,
        { role: "user", content: input === null ? instruction : `${instruction}\n\n${input}` },
        { role: "assistant", content: output },
      ],
    };
  },
};

/** Earlier turns, as question and answer pairs. */
function historyTurns(history: unknown, addIssue: AddIssue): Message[] | null {
  if (isAbsent(history)) return [];
  const pairs: unknown[] = Array.isArray(history) ? history : [history];
  const wrong = pairs.findIndex((pair) =>
    !(Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === "string"))
  );
  if (wrong >= 0) {
    addIssue(
      "source_field",
      `history[${wrong}]`,
      `is ${shown(pairs[wrong])}, but must be a pair of strings`,
      "Give the earlier turns as [[question, answer], …].",
    );
    return null;
  }
  return pairs.flatMap((pair) => {
    const [question, answer]: unknown[] = Array.isArray(pair) ? pair : [];
    return [{ role: "user", content: question }, { role: "assistant", content: answer }];
  });
}

const shareGptForm =
  'A ShareGPT row has "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}].';

const shareGpt: Converter = {
  fields: ["conversations", "system", "tools", "chosen", "rejected"],
  convert(row, addIssue) {
    const system = optionalText(row, "system", shareGptForm, addIssue);
    const messages = shareGptTurns(parseCell(row.conversations), "conversations", addIssue);
    const tools = parseCell(row.tools);
    if (!isAbsent(tools) && !Array.isArray(tools)) {
      addIssue(
        "source_field",
        "tools",
        `is ${shown(tools)}, but must be a list`,
        "Give the JSON of a list of functions.",
      );
      return null;
    }
    if (system === false || messages === null) return null;
    const chat = {
      messages: [...systemTurn(system), ...messages],
      ...(Array.isArray(tools) && tools.length > 0 ? { tools: tools.map(declaration) } : {}),
    };
    if (isAbsent(row.chosen) && isAbsent(row.rejected)) return chat;
    const chosen = shareGptTurns([parseCell(row.chosen)], "chosen", addIssue);
    const rejected = shareGptTurns([parseCell(row.rejected)], "rejected", addIssue);
    const [preferred] = chosen ?? [];
    const [other] = rejected ?? [];
    if (preferred === undefined || other === undefined) return null;
    return { input: chat, preferred_output: [preferred], non_preferred_output: [other] };
  },
};

/** A function in OpenAI's form; LLaMA-Factory omits the wrapper. */
const declaration = (tool: unknown) =>
  isObject(tool) && !("function" in tool) ? { type: "function", function: tool } : tool;

const pairForm = "Give prompt and completion, each a string or a list of messages.";

/** A prompt and its completion: strings, or lists of messages (TRL's conversational form). */
const promptCompletion: Converter = {
  fields: ["prompt", "completion", "system", "tools"],
  convert(row, addIssue, isTable) {
    const messages = promptTurns(row, pairForm, addIssue, isTable);
    const completion = isTable ? parseCell(row.completion) : row.completion;
    const answer = areMessages(completion)
      ? completion
      : textTurn(row, "completion", "assistant", pairForm, addIssue);
    if (messages === null || answer === null) return null;
    const tools = parseCell(row.tools);
    return { messages: [...messages, ...answer], ...(isAbsent(tools) ? {} : { tools }) };
  },
};

const choiceForm = "Give prompt, chosen and rejected, each a string or a list of messages.";

/** A prompt with a chosen and a rejected answer: strings, or messages that may repeat the prompt. */
const chosenRejected: Converter = {
  fields: ["prompt", "chosen", "rejected", "system", "tools"],
  convert(row, addIssue, isTable) {
    const better = answerTurns(row, "chosen", addIssue, isTable);
    const worse = answerTurns(row, "rejected", addIssue, isTable);
    if (better === null || worse === null) return null;
    let shared = 0;
    // The last message of each is its answer; the messages before it must be the same.
    while (
      shared < Math.min(better.length, worse.length) - 1 &&
      jsonText(better[shared]) === jsonText(worse[shared])
    ) shared += 1;
    const [preferred, ...more] = better.slice(shared);
    const [other, ...others] = worse.slice(shared);
    if (preferred === undefined || other === undefined || more.length > 0 || others.length > 0) {
      addIssue(
        "source_field",
        "rejected",
        "differs from chosen in more than the last message",
        "They must be the same conversation, except for the last answer.",
      );
      return null;
    }
    const before = better.slice(0, shared);
    const prompt = isAbsent(row.prompt) && before.length > 0
      ? []
      : promptTurns(row, choiceForm, addIssue, isTable);
    if (prompt === null) return null;
    const tools = parseCell(row.tools);
    return {
      // If both repeat the whole conversation, it starts with the prompt.
      input: {
        messages: before.some(({ role }) => role === "user") ? before : [...prompt, ...before],
        ...(isAbsent(tools) ? {} : { tools }),
      },
      preferred_output: [preferred],
      non_preferred_output: [other],
    };
  },
};

function answerTurns(row: Row, field: string, addIssue: AddIssue, isTable: boolean): Message[] | null {
  const value = isTable ? parseCell(row[field]) : row[field];
  if (areMessages(value)) return value;
  const single = [value];
  if (areMessages(single)) return single;
  if (typeof value === "string" && /^\s*Human: [^]*\n\s*Assistant:/.test(value)) {
    addIssue(
      "source_field",
      field,
      'holds a whole dialogue as one string ("Human: … Assistant: …")',
      "Write it as a list of messages, each with a role and content.",
    );
    return null;
  }
  return textTurn(row, field, "assistant", choiceForm, addIssue);
}

/** The prompt's messages, after the system message. */
function promptTurns(row: Row, form: string, addIssue: AddIssue, isTable: boolean): Message[] | null {
  const system = optionalText(row, "system", form, addIssue);
  const value = isTable ? parseCell(row.prompt) : row.prompt;
  const turns = areMessages(value) ? value : textTurn(row, "prompt", "user", form, addIssue);
  return system === false || turns === null ? null : [...systemTurn(system), ...turns];
}

function textTurn(row: Row, field: string, role: string, form: string, addIssue: AddIssue): Message[] | null {
  const content = requiredText(row, field, form, addIssue);
  return content === null ? null : [{ role, content }];
}

export const converters = {
  alpaca,
  sharegpt: shareGpt,
  prompt_completion: promptCompletion,
  chosen_rejected: chosenRejected,
  "brightrun-lora-v4": brightrun,
} as const satisfies Record<string, Converter>;
