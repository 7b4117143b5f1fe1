/**
 * Counts the tokens of a conversation with the base model's tokenizer and chat template, if the operator has registered
 * them. Pure JavaScript; for SmolLM2 the counts equal the trainer's. Loaded lazily, because most requests do not need it.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import type { Supabase } from "../../../_shared/platform.ts";
import * as z from "zod";
import { unavailable } from "../../../_shared/storage.ts";
import { called, type Counter } from "./characters.ts";
import type { Conversation, Turn } from "./conversation.ts";
import { probe, type TemplateSupport } from "./template_support.ts";

/**
 * Caches one tokenizer per isolate: a project usually trains one model. Loading a vocabulary of 50,000 takes 0.2 to 0.4 s
 * of the platform's 2 s of CPU time per request (measured on 2 shared cores), one of 150,000 about a second.
 */
let cached: { folder: string; counting: Counting } | null = null;

/** Counts a model's rows. `support`: what its chat template renders; null without a template. */
export interface Counting {
  count: Counter;
  support: TemplateSupport | null;
}

/** Loads the tokenizer in a folder of the tokenizers bucket. Throws `unavailable` if it cannot be read. */
export async function loadCounter(supabase: Supabase, folder: string): Promise<Counting> {
  if (cached?.folder === folder) return cached.counting;
  const [json, config, template] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"].map(async (name) => {
      const { data, error } = await supabase.storage.from(buckets.tokenizers).download(
        `${folder}/${name}`,
      );
      return error === null ? await data.text() : null;
    }),
  );
  if (!json) throw unavailable(`reading ${folder}/tokenizer.json`, "it is not in the tokenizers bucket");
  const counting = makeCounter(JSON.parse(json), JSON.parse(config ?? "{}"), template ?? null);
  cached = { folder, counting };
  return counting;
}

const text = z.union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
  .nullish().transform((value) => value ?? "");
const Config = z.looseObject({ bos_token: text, eos_token: text, chat_template: z.string().nullish() });
const Json = z.looseObject({});

/** Creates a counter from the contents of the three files. Without a template, turns are concatenated. */
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
      // No template, or one that throws for this row: a turn's markup is about five tokens.
      const of = (turn: Turn) => tokens(turn.content + called(turn));
      return {
        tokens: turns.reduce((sum, turn) => sum + of(turn) + 5, 0),
        trainable: turns.reduce((sum, turn) => sum + (turn.trainable ? of(turn) + 1 : 0), 0),
      };
    }
    return {
      tokens: tokens(rendered.text),
      trainable: rendered.answers.reduce((sum, answer) => sum + tokens(answer), 0),
    };
  };
  return { count, support: chat === null ? null : probe(chat, { bos_token, eos_token }) };
}

/** Renders a conversation, and returns the parts that are trained on, like the trainer. */
function render(
  chat: Template,
  { turns, tools }: Conversation,
  special: Record<string, string>,
): { text: string; answers: string[] } | null {
  const messages = turns.map(({ trainable: _, ...message }) => message);
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
      if (!turn.trainable) return [];
      const before = text(i, true);
      const after = text(i + 1, false).replace(/\n+$/, "");
      return after.startsWith(before) ? [after.slice(before.length)] : [turn.content];
    });
    return { text: whole, answers };
  } catch {
    return null; // templates throw for unsupported roles and orders
  }
}
