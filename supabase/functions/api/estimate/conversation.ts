/** One line of a dataset as the conversation that the trainer makes of it; for counting, so it refuses nothing. */
import * as z from "zod";

/** A turn; `learned` ones are what the training is for. */
export interface Turn {
  role: string;
  content: string;
  learned: boolean;
}

const Content = z.union([
  z.string(),
  z.array(z.looseObject({ text: z.string().optional() })).transform((parts) =>
    parts.map(({ text }) => text ?? "").join("")
  ),
]).nullish();
const Chat = z.looseObject({
  messages: z.array(z.looseObject({ role: z.string(), content: Content, weight: z.number().optional() })),
});
const Pair = z.looseObject({ prompt: z.string(), completion: z.string() });
/** `brightrun-lora-v4`: the history's last entry may repeat the user's turn. */
const Brightrun = z.looseObject({
  system_prompt: z.string().nullish(),
  conversation_history: z.array(z.looseObject({ role: z.string(), content: z.string() })).nullish(),
  current_user_input: z.string(),
  target_response: z.string().nullable(),
});

/** The turns of a line; null when it is no row of a format that is known. A row may have nothing to learn from. */
export function conversation(line: string): Turn[] | null {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return null; // the check of the file says it; a count leaves it out
  }
  const chat = Chat.safeParse(row);
  if (chat.success) {
    return chat.data.messages.map(({ role, content, weight }) => ({
      role,
      content: content ?? "",
      learned: role === "assistant" && weight !== 0,
    }));
  }
  const pair = Pair.safeParse(row);
  if (pair.success) {
    return [turn("user", pair.data.prompt), turn("assistant", pair.data.completion)];
  }
  const brightrun = Brightrun.safeParse(row);
  if (!brightrun.success) return null;
  const { system_prompt, conversation_history, current_user_input, target_response } = brightrun.data;
  const history = conversation_history ?? [];
  const last = history.at(-1);
  if (last?.role === "user" && last.content === current_user_input) history.pop();
  return [
    ...(system_prompt ? [turn("system", system_prompt)] : []),
    // What was said before is read, and only the last answer learned.
    ...history.map(({ role, content }) => ({ role, content, learned: false })),
    turn("user", current_user_input),
    ...(target_response === null ? [] : [turn("assistant", target_response)]),
  ];
}

const turn = (role: string, content: string): Turn => ({ role, content, learned: role === "assistant" });
