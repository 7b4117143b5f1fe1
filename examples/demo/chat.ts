/** Asks base and fine-tuned model by name with the OpenAI SDK, streamed, on held-out rows. */
import type OpenAI from "openai";
import * as z from "zod";
import type { Evaluation } from "./evaluate.ts";

/** Enough to see that the models differ, in a few seconds without a GPU. */
const maxRows = 8;

const Row = z.object({
  messages: z.array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() })).min(2),
});
const ListedModel = z.object({ id: z.string(), servable: z.boolean().optional() });

export interface Chat {
  rows: number;
  /** Answers that equal the row's. */
  base_exact: number;
  tuned_exact: number;
  /** Answers of both models, of 2 × `rows`, that equal those of plain transformers. */
  equal_to_transformers: number;
  /** The median time to the first token. */
  first_token_ms: number;
  tokens_per_second: number;
}

export interface Answer {
  text: string;
  tokens: number;
  firstTokenMs: number;
  /** From the first token to the last. */
  seconds: number;
}

/** Whether the server serves this model. */
export async function isServable(client: OpenAI, model: string): Promise<boolean> {
  return ListedModel.parse(await client.models.retrieve(model)).servable === true;
}

/** Starts loading a model, so that the first request does not wait for it. */
export async function warm(client: OpenAI, model: string): Promise<void> {
  await client.post(`/models/${encodeURIComponent(model)}/warm`);
}

/** Asks both models the first held-out rows, one request at a time. `evaluation` has plain transformers' answers. */
export async function chat(
  client: OpenAI,
  models: { base: string; tuned: string },
  heldout: string,
  evaluation: Evaluation,
  line: (text: string) => void,
  signal: AbortSignal,
): Promise<Chat> {
  const rows = (await Deno.readTextFile(heldout)).split("\n").filter((text) => text.trim() !== "")
    .slice(0, maxRows).map((text) => Row.parse(JSON.parse(text)).messages);
  const answers: { base: Answer[]; tuned: Answer[] } = { base: [], tuned: [] };
  for (const side of ["base", "tuned"] as const) {
    for (const messages of rows) {
      answers[side].push(
        await ask(client, models[side], messages.slice(0, -1), evaluation.max_tokens, signal),
      );
    }
    line(`${models[side]}: ${answers[side].length} answers, the last: ${clip(answers[side].at(-1)?.text)}`);
  }
  const exact = (side: "base" | "tuned") =>
    answers[side].filter(({ text }, i) => text === rows[i]?.at(-1)?.content.trim()).length;
  const equal = (side: "base" | "tuned") =>
    answers[side].filter(({ text }, i) => text === evaluation.answers[i]?.[side]).length;
  const all = [...answers.base, ...answers.tuned];
  const seconds = all.reduce((sum, answer) => sum + answer.seconds, 0);
  return {
    rows: rows.length,
    base_exact: exact("base"),
    tuned_exact: exact("tuned"),
    equal_to_transformers: equal("base") + equal("tuned"),
    first_token_ms: Math.round(median(all.map(({ firstTokenMs }) => firstTokenMs))),
    tokens_per_second: Math.round(10 * all.reduce((sum, { tokens }) => sum + tokens - 1, 0) / seconds) / 10,
  };
}

/** One streamed, greedy answer. */
async function ask(
  client: OpenAI,
  model: string,
  messages: OpenAI.ChatCompletionMessageParam[],
  maxTokens: number,
  signal: AbortSignal,
): Promise<Answer> {
  const begin = performance.now();
  let firstTokenMs: number | null = null;
  let text = "";
  let tokens = 0;
  const stream = await client.chat.completions.create({
    model,
    messages,
    temperature: 0,
    max_completion_tokens: maxTokens,
    stream: true,
    stream_options: { include_usage: true },
  }, { signal });
  for await (const chunk of stream) {
    const delta = chunk.choices[0]?.delta.content ?? "";
    if (delta !== "") firstTokenMs ??= performance.now() - begin;
    text += delta;
    tokens = chunk.usage?.completion_tokens ?? tokens;
  }
  const elapsed = performance.now() - begin;
  firstTokenMs ??= elapsed;
  return { text: text.trim(), tokens, firstTokenMs, seconds: (elapsed - firstTokenMs) / 1000 };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

const clip = (text = "") => text.length > 70 ? `${text.slice(0, 69)}…` : text;
