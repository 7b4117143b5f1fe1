/**
 * Counts a sample of a dataset's rows: all rows of a small file, evenly spread slices of a large one, so that an estimate
 * takes a fraction of a second for any file size.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import type { Supabase } from "../../../_shared/platform.ts";
import * as z from "zod";
import { signedUrl, unavailable } from "../../../_shared/storage.ts";
import { type Conversation, conversations } from "./conversation.ts";
import type { Counting } from "./tokenizer.ts";

/**
 * The stored counts: [slice, bytes, tokens, trainable tokens] of each row. Preference rows, whose tokens include both sides,
 * have a fifth number, the tokens of the longer side.
 */
export const Sample = z.object({
  /** Whether all rows were counted. */
  whole: z.boolean(),
  rows: z.array(z.tuple([z.int(), z.int(), z.int(), z.int()], z.int())),
  /** Slices without a complete row. */
  too_long: z.int(),
  /** What the model's chat template does not render: tool calls, or only tool declarations. */
  unrendered: z.enum(["calls", "tools"]).nullable().default(null),
});
export type Sample = z.infer<typeof Sample>;

const slices = 16;
/** Rows that start in the first part of a slice are counted; the rest of the slice is for their ends. */
const beginBytes = 12 * 1024;
const sliceBytes = 64 * 1024;
/** Files up to this size are read completely. */
const wholeBytes = slices * beginBytes;

interface Line {
  slice: number;
  /** Its offset in the slice. */
  start: number;
  bytes: number;
  text: string;
}

/** Reads and counts a sample, for at most `maxMs`. Throws `unavailable` if Storage fails. */
export async function takeSample(
  supabase: Supabase,
  object: string,
  bytes: number,
  counting: Counting,
  maxMs: number,
): Promise<Sample> {
  const url = await signedUrl(supabase, buckets.datasets, object, 300);
  if (bytes <= wholeBytes) {
    const all = lines(await range(url, 0, bytes), 0, bytes);
    // Every sixteenth row first, so that the counted rows are spread over the file if time runs out.
    const found = all.map((line, i) => ({ ...line, slice: i % slices })).sort((a, b) => a.slice - b.slice);
    return count(found, true, 0, counting, maxMs);
  }
  const step = (bytes - sliceBytes) / (slices - 1);
  const parts = await Promise.all(
    Array.from({ length: slices }, async (_, i) => {
      const from = Math.floor(i * step);
      return lines(await range(url, from, sliceBytes), i === 0 ? 0 : 1, beginBytes, i);
    }),
  );
  const tooLong = parts.filter((part) => part.length === 0).length;
  // By offset instead of by slice, so that about as many bytes of each slice are counted if time runs out.
  const found = parts.flat().sort((a, b) => a.start - b.start);
  return count(found, false, tooLong, counting, maxMs);
}

async function range(url: string, from: number, length: number): Promise<Uint8Array> {
  const response = await fetch(url, { headers: { range: `bytes=${from}-${from + length - 1}` } });
  if (!response.ok) throw unavailable("reading a sample", `${response.status} ${await response.text()}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The complete lines that start within the first `max` bytes, without the first `skip` lines, which are partial. */
function lines(bytes: Uint8Array, skip: number, max: number, slice = 0): Line[] {
  const found: Line[] = [];
  const decoder = new TextDecoder();
  for (let start = 0; start < max && start < bytes.length;) {
    const end = bytes.indexOf(10, start);
    // Without a line feed, the line ends after the slice. Only the last line of a complete file may lack one.
    if (end < 0 && (skip > 0 || max < bytes.length)) break;
    const line = bytes.subarray(start, end < 0 ? bytes.length : end + 1);
    if (skip > 0) skip -= 1;
    else found.push({ slice, start, bytes: line.length, text: decoder.decode(line) });
    start += line.length;
  }
  return found;
}

function count(found: Line[], whole: boolean, tooLong: number, counting: Counting, maxMs: number): Sample {
  const until = performance.now() + maxMs;
  const rows: Sample["rows"] = [];
  let unrendered: Sample["unrendered"] = null;
  for (const { slice, bytes, text } of found) {
    if (performance.now() > until) return { whole: false, rows, too_long: tooLong, unrendered };
    const sides = conversations(text);
    for (const side of sides) {
      if (unrendered !== "calls") unrendered = unrenderedTools(side, counting.support) ?? unrendered;
    }
    const counts = sides.map(counting.count);
    if (counts.length === 0) continue;
    const tokens = counts.reduce((sum, { tokens }) => sum + tokens, 0);
    const trainable = counts.reduce((sum, { trainable }) => sum + trainable, 0);
    const longest = counts.length > 1 ? [Math.max(...counts.map(({ tokens }) => tokens))] : [];
    rows.push([slice, bytes, tokens, trainable, ...longest]);
  }
  return { whole, rows, too_long: tooLong, unrendered };
}

/** What the template does not render. Calls take precedence, because they are trained on. */
function unrenderedTools({ turns, tools }: Conversation, support: Counting["support"]): Sample["unrendered"] {
  if (support === null) return null;
  if (!support.calls && turns.some(({ tool_calls }) => tool_calls !== undefined)) return "calls";
  return !support.tools && tools.length > 0 ? "tools" : null;
}
