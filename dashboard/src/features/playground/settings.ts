/** The settings of requests, as typed, and their errors. */
import type { ChatMessage, ChatRequest } from "../../../../client/chat_stream.ts";
import { checkRowTools } from "../../../../supabase/functions/_shared/datasets/tools.ts";

/** As typed; an empty text omits the field from the request. */
export interface Settings {
  system: string;
  temperature: string;
  maxTokens: string;
  /** A JSON array. */
  tools: string;
}

export const emptySettings: Settings = {
  system: "",
  temperature: "",
  maxTokens: "",
  tools: "",
};

export type SettingErrors = Partial<Record<keyof Settings, string>>;

export interface CheckedSettings {
  /** The valid fields of a request. */
  fields: Pick<ChatRequest, "temperature" | "max_completion_tokens" | "tools">;
  system: string | null;
  errors: SettingErrors;
}

export function checkSettings(
  { system, temperature, maxTokens, tools }: Settings,
): CheckedSettings {
  const checked: CheckedSettings = {
    fields: {},
    system: system.trim() === "" ? null : system,
    errors: {},
  };
  if (temperature.trim() !== "") {
    const value = Number(temperature);
    if (value >= 0 && value <= 2) checked.fields.temperature = value;
    else checked.errors.temperature = "Enter a number from 0 to 2.";
  }
  if (maxTokens.trim() !== "") {
    const value = Number(maxTokens);
    if (Number.isInteger(value) && value >= 1) {
      checked.fields.max_completion_tokens = value;
    } else checked.errors.maxTokens = "Enter a whole number of at least 1.";
  }
  if (tools.trim() !== "") {
    const parsed = parseTools(tools);
    if (typeof parsed === "string") checked.errors.tools = parsed;
    else if (parsed.length > 0) checked.fields.tools = parsed;
  }
  return checked;
}

/** The tools, or an error that says how to fix them. */
export function parseTools(text: string): unknown[] | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `Not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (!Array.isArray(value)) return "Must be an array of tools: [ … ]";
  const problems: string[] = [];
  checkRowTools(
    { tools: value },
    (_code, field, what, fix) => problems.push(`${field} ${what}. ${fix}`),
  );
  return problems[0] ?? value;
}

/** A request with these messages. A system message among them, such as a row's, replaces the system prompt in the settings. */
export function buildRequest(
  model: string,
  messages: ChatMessage[],
  { fields, system }: CheckedSettings,
  /** A row's own tools. */
  tools: unknown[] | null,
): ChatRequest {
  return {
    model,
    messages: system === null || messages[0]?.role === "system"
      ? messages
      : [{ role: "system", content: system }, ...messages],
    ...fields,
    ...(tools === null ? {} : { tools }),
  };
}

export const toolsExample = JSON.stringify(
  [{
    type: "function",
    function: {
      name: "get_order",
      description: "Look up an order",
      parameters: {
        type: "object",
        properties: { order_id: { type: "string" } },
        required: ["order_id"],
      },
    },
  }],
  null,
  2,
);
