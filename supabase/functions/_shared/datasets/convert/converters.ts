/** One converter for each source format: a row as other tools write it, to the chat or preference row that is trained on. */
import { type AddIssue, isObject, jsonText, shown } from "../report.ts";
import {
  areMessages,
  type ChatRow,
  isAbsent,
  type Message,
  needText,
  optionalText,
  type PreferenceRow,
  type Row,
  systemTurn,
  unpacked,
} from "./fields.ts";
import { shareGptTurns } from "./sharegpt.ts";

export interface Converter {
  /** Every field that is read; another one is ignored, and said so. */
  fields: readonly string[];
  /** The canonical row; null where the source row cannot be one, which has been reported. */
  convert(row: Row, addIssue: AddIssue): ChatRow | PreferenceRow | null;
}

const alpacaForm = "An Alpaca row has instruction, output, and if it needs them input, system and history.";

/** Alpaca: an instruction, what it is applied to, and the answer. LLaMA-Factory's `system` and `history` too. */
const alpaca: Converter = {
  fields: ["instruction", "input", "output", "system", "history"],
  convert(row, addIssue) {
    const instruction = needText(row, "instruction", alpacaForm, addIssue);
    const output = needText(row, "output", alpacaForm, addIssue);
    const input = optionalText(row, "input", alpacaForm, addIssue);
    const system = optionalText(row, "system", alpacaForm, addIssue);
    const history = historyTurns(unpacked(row.history), addIssue);
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

/** Pairs of a question and its answer. */
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
      `is ${shown(pairs[wrong])}, and must be a pair of texts`,
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
    const messages = shareGptTurns(unpacked(row.conversations), "conversations", addIssue);
    const tools = unpacked(row.tools);
    if (!isAbsent(tools) && !Array.isArray(tools)) {
      addIssue(
        "source_field",
        "tools",
        `is ${shown(tools)}, and must be a list`,
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
    const chosen = shareGptTurns([unpacked(row.chosen)], "chosen", addIssue);
    const rejected = shareGptTurns([unpacked(row.rejected)], "rejected", addIssue);
    const [preferred] = chosen ?? [];
    const [other] = rejected ?? [];
    if (preferred === undefined || other === undefined) return null;
    return { input: chat, preferred_output: [preferred], non_preferred_output: [other] };
  },
};

/** A function as OpenAI declares it: LLaMA-Factory's stand without their wrapping. */
const declaration = (tool: unknown) =>
  isObject(tool) && !("function" in tool) ? { type: "function", function: tool } : tool;

const pairForm = "Give prompt and completion, each a text or a list of messages.";

/** A prompt and its completion: texts, or lists of messages (TRL's conversational form). */
const promptCompletion: Converter = {
  fields: ["prompt", "completion", "system", "tools"],
  convert(row, addIssue) {
    const messages = promptTurns(row, pairForm, addIssue);
    const completion = unpacked(row.completion);
    const answer = areMessages(completion)
      ? completion
      : textTurn(row, "completion", "assistant", pairForm, addIssue);
    if (messages === null || answer === null) return null;
    const tools = unpacked(row.tools);
    return { messages: [...messages, ...answer], ...(isAbsent(tools) ? {} : { tools }) };
  },
};

const choiceForm = "Give prompt, chosen and rejected: texts, or lists of messages.";

/** A prompt with a better and a worse answer: texts, or messages with or without the prompt before them. */
const chosenRejected: Converter = {
  fields: ["prompt", "chosen", "rejected", "system", "tools"],
  convert(row, addIssue) {
    const better = answerTurns(row, "chosen", addIssue);
    const worse = answerTurns(row, "rejected", addIssue);
    if (better === null || worse === null) return null;
    let shared = 0;
    // The last message of each is its answer; what both have before it is the conversation.
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
        "Both must be the same conversation with another last answer.",
      );
      return null;
    }
    const before = better.slice(0, shared);
    const prompt = isAbsent(row.prompt) && before.length > 0 ? [] : promptTurns(row, choiceForm, addIssue);
    if (prompt === null) return null;
    const tools = unpacked(row.tools);
    return {
      // Both may hold the whole conversation; the prompt is its beginning then.
      input: {
        messages: before.some(({ role }) => role === "user") ? before : [...prompt, ...before],
        ...(isAbsent(tools) ? {} : { tools }),
      },
      preferred_output: [preferred],
      non_preferred_output: [other],
    };
  },
};

function answerTurns(row: Row, field: string, addIssue: AddIssue): Message[] | null {
  const value = unpacked(row[field]);
  if (areMessages(value)) return value;
  const [single] = isObject(value) && typeof value.role === "string" ? [value] : [];
  if (areMessages([single])) return [single as Message];
  if (typeof value === "string" && /^\s*Human: [^]*\n\s*Assistant:/.test(value)) {
    addIssue(
      "source_field",
      field,
      'holds a dialogue as one text ("Human: … Assistant: …")',
      "Write it as a list of messages, each with a role and content.",
    );
    return null;
  }
  return textTurn(row, field, "assistant", choiceForm, addIssue);
}

/** The prompt's messages, with the system message before them. */
function promptTurns(row: Row, form: string, addIssue: AddIssue): Message[] | null {
  const system = optionalText(row, "system", form, addIssue);
  const value = unpacked(row.prompt);
  const turns = areMessages(value) ? value : textTurn(row, "prompt", "user", form, addIssue);
  return system === false || turns === null ? null : [...systemTurn(system), ...turns];
}

function textTurn(row: Row, field: string, role: string, form: string, addIssue: AddIssue): Message[] | null {
  const content = needText(row, field, form, addIssue);
  return content === null ? null : [{ role, content }];
}

const brightrunForm =
  "Give current_user_input and target_response, and export the file again if they are missing.";

/** brightrun-lora-v4: only the target is learned, not the history's answers. */
const brightrun: Converter = {
  fields: ["system_prompt", "conversation_history", "current_user_input", "target_response"],
  convert(row, addIssue) {
    const input = needText(row, "current_user_input", brightrunForm, addIssue);
    const target = needText(row, "target_response", brightrunForm, addIssue);
    const system = optionalText(row, "system_prompt", brightrunForm, addIssue);
    const history = unpacked(row.conversation_history);
    if (input === null || target === null || system === false) return null;
    if (!isAbsent(history) && !areMessages(history)) {
      addIssue(
        "source_field",
        "conversation_history",
        `is ${shown(history)}`,
        "It must be a list of turns with role and content.",
      );
      return null;
    }
    const turns = areMessages(history) ? history : [];
    const last = turns.at(-1);
    const repeats = last?.role === "user" && last.content === input;
    return {
      messages: [
        ...systemTurn(system),
        ...(repeats ? turns.slice(0, -1) : turns).map(({ role, content }) =>
          role === "assistant" ? { role, content, weight: 0 } : { role, content }
        ),
        { role: "user", content: input },
        { role: "assistant", content: target },
      ],
    };
  },
};

export const converters = {
  alpaca,
  sharegpt: shareGpt,
  prompt_completion: promptCompletion,
  chosen_rejected: chosenRejected,
  "brightrun-lora-v4": brightrun,
} as const satisfies Record<string, Converter>;
