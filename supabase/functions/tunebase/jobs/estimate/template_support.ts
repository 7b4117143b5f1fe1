/** Detects whether a chat template renders tools, like the trainer (`rendering.py`). */
import type { Template } from "@huggingface/jinja";

/** Whether a template renders tool declarations and tool calls. */
export interface TemplateSupport {
  tools: boolean;
  calls: boolean;
}

const canary = "canary_function";

/** Renders a canary. A template that throws does not support it. */
export function probe(chat: Template, special: Record<string, string>): TemplateSupport {
  const renders = (more: Record<string, unknown>) => {
    try {
      return chat.render({ ...more, ...special }).includes(canary);
    } catch {
      return false;
    }
  };
  const user = { role: "user", content: "x" };
  const tool = { name: canary, description: "x", parameters: { type: "object", properties: {} } };
  const call = (args: unknown, id: string) =>
    renders({
      messages: [user, {
        role: "assistant",
        content: "",
        tool_calls: [{ id, type: "function", function: { name: canary, arguments: args } }],
      }],
      add_generation_prompt: false,
    });
  return {
    tools: renders({
      messages: [user],
      tools: [{ type: "function", function: tool }],
      add_generation_prompt: true,
    }),
    // Arguments as an object or a string. Mistral's templates require ids of nine characters.
    calls: [{ a: 1 }, '{"a": 1}'].some((args) => ["call_1", "abcdefghi"].some((id) => call(args, id))),
  };
}
