/** Chooses rows of a dataset to evaluate: their prompts and expected answers. */
import * as z from "zod";
import { buckets } from "../../_shared/contracts/buckets.ts";
import { toolCallText } from "../../_shared/datasets/tool_call_text.ts";
import type { Supabase } from "../../_shared/platform.ts";
import { signedUrl, unavailable } from "../../_shared/storage.ts";

/** The maximum file size. Held-out files are usually smaller; reading this much takes a fraction of a second. */
export const maxFileBytes = 32 * 2 ** 20;

export interface EvaluationRow {
  /** In the file, from 1. */
  line: number;
  prompt: { messages: unknown[]; tools?: unknown[] };
  expected: string;
  /** The expected answer is tool calls, as JSON: `[{name, arguments}]`. */
  is_json: boolean;
}

const Call = z.looseObject({ function: z.looseObject({ name: z.string(), arguments: z.string() }) });
const Message = z.looseObject({
  role: z.string(),
  content: z.union([z.string(), z.array(z.looseObject({ text: z.string().optional() }))]).nullish(),
  tool_calls: z.array(Call).nullish(),
});
const Row = z.looseObject({ messages: z.array(Message), tools: z.array(z.unknown()).nullish() });

/**
 * Returns `max` rows, evenly spread over the file's `total`, because files may be sorted. A row's last assistant message is
 * the expected answer; the prompt is everything before it. Throws `unavailable` if Storage fails.
 */
export async function chooseRows(
  supabase: Supabase,
  object: string,
  total: number,
  max: number,
): Promise<EvaluationRow[]> {
  const count = Math.min(max, total);
  const wanted = new Set(Array.from({ length: count }, (_, i) => Math.floor(i * total / count)));
  const response = await fetch(await signedUrl(supabase, buckets.datasets, object, 300));
  if (!response.ok) {
    throw unavailable("reading a file's rows", `${response.status} ${await response.text()}`);
  }
  const rows: EvaluationRow[] = [];
  let line = 0;
  let index = 0;
  for await (const text of lines(response)) {
    line += 1;
    if (text.trim() === "") continue;
    if (wanted.has(index++)) {
      const row = toRow(text, line);
      if (row !== null) rows.push(row);
    }
  }
  return rows;
}

async function* lines({ body }: Response): AsyncGenerator<string> {
  let rest = "";
  for await (const text of (body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  if (rest !== "") yield rest;
}

/** null: not a chat row with an answer, as the file's validation has already reported. */
export function toRow(text: string, line: number): EvaluationRow | null {
  const { messages, tools } = Row.parse(JSON.parse(text));
  const last = messages.findLastIndex(({ role }) => role === "assistant");
  const answer = messages[last];
  // Without a message before the answer, there is no prompt.
  if (answer === undefined || last === 0) return null;
  const calls = answer.tool_calls ?? [];
  return {
    line,
    // `weight` is for training only.
    prompt: {
      messages: messages.slice(0, last).map(({ weight: _, ...message }) => message),
      ...(tools?.length ? { tools } : {}),
    },
    expected: calls.length > 0
      ? toolCallText(calls.map((call) => call.function))
      : contentText(answer.content),
    is_json: calls.length > 0,
  };
}

function contentText(content: z.infer<typeof Message>["content"]): string {
  if (typeof content === "string") return content;
  return (content ?? []).map(({ text }) => text ?? "").join("");
}
