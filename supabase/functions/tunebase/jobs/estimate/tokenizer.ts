/**
 * How many tokens a conversation has by the base model's own tokenizer and chat template, where the operator registered
 * them. Pure JavaScript; on SmolLM2's files it counts what the trainer counts. Loaded only when it is needed: most
 * requests do without, and a function's start should not pay for it.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import type { Supabase } from "../../../_shared/platform.ts";
import * as z from "zod";
import { unavailable } from "../../../_shared/storage.ts";
import { called, type Counter } from "./characters.ts";
import type { Conversation, Turn } from "./conversation.ts";
import { probe, type Shows } from "./template_support.ts";

/**
 * One tokenizer an isolate, by its folder: a project mostly trains one model, and a vocabulary of 50,000 takes 0.2 to
 * 0.4 s of the 2 s CPU that the platform gives a request (measured, 2 shared cores), one of 150,000 about a second.
 */
let kept: { folder: string; counting: Counting } | null = null;

/** How a model's rows are counted, and what its template shows; null without a template. */
export interface Counting {
  count: Counter;
  shows: Shows | null;
}

/** That of a folder in the bucket `tunebase-tokenizers`. Throws `unavailable` when it cannot be read. */
export async function loadCounter(supabase: Supabase, folder: string): Promise<Counting> {
  if (kept?.folder === folder) return kept.counting;
  const [json, config, template] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"].map(async (name) => {
      const { data, error } = await supabase.storage.from(buckets.tokenizers).download(
        `${folder}/${name}`,
      );
      return error === null ? await data.text() : null;
    }),
  );
  if (!json) throw unavailable(`reading ${folder}/tokenizer.json`, "it is not in the bucket tokenizers");
  const counting = makeCounter(JSON.parse(json), JSON.parse(config ?? "{}"), template ?? null);
  kept = { folder, counting };
  return counting;
}

const text = z.union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
  .nullish().transform((value) => value ?? "");
const Config = z.looseObject({ bos_token: text, eos_token: text, chat_template: z.string().nullish() });
const Json = z.looseObject({});

/** A counter of what the three files hold; without a template, turns are joined plainly. */
export function makeCounter(json: unknown, config: unknown, template: string | null): Counting {
  const tokenizer = new Tokenizer(Json.parse(json), {});
  const { bos_token, eos_token, chat_template } = Config.parse(config);
  const source = template ?? chat_template ?? null;
  const chat = source === null ? null : new Template(source);
  const tokens = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids.length;
  const count: Counter = (conversation) => {
    const { turns } = conversation;
    const rendered = chat === null ? null : render(chat, conversation, { bos_token, eos_token });
    if (rendered === null) {
      // No template, or one that refuses this row: what stands around a turn is about five tokens.
      const of = (turn: Turn) => tokens(turn.content + called(turn));
      return {
        tokens: turns.reduce((sum, turn) => sum + of(turn) + 5, 0),
        learned: turns.reduce((sum, turn) => sum + (turn.learned ? of(turn) + 1 : 0), 0),
      };
    }
    return {
      tokens: tokens(rendered.text),
      learned: rendered.answers.reduce((sum, answer) => sum + tokens(answer), 0),
    };
  };
  return { count, shows: chat === null ? null : probe(chat, { bos_token, eos_token }) };
}

/** The conversation as the model reads it, and the parts of it that are learned, as the trainer marks them. */
function render(
  chat: Template,
  { turns, tools }: Conversation,
  special: Record<string, string>,
): { text: string; answers: string[] } | null {
  const messages = turns.map(({ learned: _, ...message }) => message);
  const text = (count: number, prompt: boolean) =>
    chat.render({
      messages: messages.slice(0, count),
      ...(tools.length > 0 && { tools }),
      add_generation_prompt: prompt,
      ...special,
    });
  try {
    const whole = text(messages.length, false);
    const answers = turns.flatMap((turn, i) => {
      if (!turn.learned) return [];
      const before = text(i, true);
      const after = text(i + 1, false).replace(/\n+$/, "");
      return after.startsWith(before) ? [after.slice(before.length)] : [turn.content];
    });
    return { text: whole, answers };
  } catch {
    return null; // templates raise on roles and orders that they do not have
  }
}
