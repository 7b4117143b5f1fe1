/** Whether a chat template shows what rows say about tools; the trainer asks the same of it (`rendering.py`). */
import type { Template } from "@huggingface/jinja";

/** What of tools a template shows. */
export interface Shows {
  /** The functions that a row declares. */
  tools: boolean;
  /** The calls of an assistant's turn. */
  calls: boolean;
}

const canary = "canary_function";

/** Renders a canary. A template that raises on one does not show it. */
export function probe(chat: Template, special: Record<string, string>): Shows {
  const shown = (more: Record<string, unknown>) => {
    try {
      return chat.render({ ...more, ...special }).includes(canary);
    } catch {
      return false;
    }
  };
  const user = { role: "user", content: "x" };
  const tool = { name: canary, description: "x", parameters: { type: "object", properties: {} } };
  const call = (args: unknown, id: string) =>
    shown({
      messages: [user, {
        role: "assistant",
        content: "",
        tool_calls: [{ id, type: "function", function: { name: canary, arguments: args } }],
      }],
      add_generation_prompt: false,
    });
  return {
    tools: shown({
      messages: [user],
      tools: [{ type: "function", function: tool }],
      add_generation_prompt: true,
    }),
    // Arguments as an object, or as text; Mistral's want ids of nine characters.
    calls: [{ a: 1 }, '{"a": 1}'].some((args) => ["call_1", "abcdefghi"].some((id) => call(args, id))),
  };
}
