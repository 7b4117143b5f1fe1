/**
 * A sample of a dataset's rows, counted: small files whole, large ones in slices spread evenly, so that an estimate
 * takes a fraction of a second whatever the file's size.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import type { Supabase } from "../../../_shared/platform.ts";
import * as z from "zod";
import { signedUrl, unavailable } from "../../../_shared/storage.ts";
import { type Conversation, conversations } from "./conversation.ts";
import type { Counting } from "./tokenizer.ts";

/**
 * What was counted, as it is remembered: [slice, bytes of the line, tokens, learned tokens] of each row. A preference row
 * goes through the model twice; a fifth figure are the tokens of its longer side.
 */
export const Sample = z.object({
  /** Every row of the file was counted. */
  whole: z.boolean(),
  rows: z.array(z.tuple([z.int(), z.int(), z.int(), z.int()], z.int())),
  /** Rows that are longer than a slice, and could not be counted. */
  too_long: z.int(),
  /** What the rows have and the model's chat template does not show: calls, or no more than declarations. */
  hides: z.enum(["calls", "tools"]).nullable().default(null),
});
export type Sample = z.infer<typeof Sample>;

const slices = 16;
/** Rows that begin in the first part of a slice are counted; the rest is there for them to end in. */
const beginBytes = 12 * 1024;
const sliceBytes = 64 * 1024;
/** Up to this size a file is read whole: as many bytes as are counted of a larger one. */
const wholeBytes = slices * beginBytes;

interface Line {
  slice: number;
  /** Where in its slice it begins. */
  start: number;
  bytes: number;
  text: string;
}

/** Reads, and counts for `maxMs` at the most. Throws `unavailable` when Storage does not answer. */
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
    // Every sixteenth row, and again: when time runs out, what was counted is spread over the file.
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
  // By their place and not slice by slice: when time runs out, about as many bytes of each were counted.
  const found = parts.flat().sort((a, b) => a.start - b.start);
  return count(found, false, tooLong, counting, maxMs);
}

async function range(url: string, from: number, length: number): Promise<Uint8Array> {
  const response = await fetch(url, { headers: { range: `bytes=${from}-${from + length - 1}` } });
  if (!response.ok) throw unavailable("reading a sample", `${response.status} ${await response.text()}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The whole lines that begin within the first `most` bytes, without the first `skip`, which begin elsewhere. */
function lines(bytes: Uint8Array, skip: number, most: number, slice = 0): Line[] {
  const found: Line[] = [];
  const decoder = new TextDecoder();
  for (let start = 0; start < most && start < bytes.length;) {
    const end = bytes.indexOf(10, start);
    // Without a line feed it ends somewhere behind the slice; the last row of a file that was read whole may lack it.
    if (end < 0 && (skip > 0 || most < bytes.length)) break;
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
  let hides: Sample["hides"] = null;
  for (const { slice, bytes, text } of found) {
    if (performance.now() > until) return { whole: false, rows, too_long: tooLong, hides };
    const sides = conversations(text);
    for (const side of sides) {
      if (hides !== "calls") hides = hiddenOf(side, counting.shows) ?? hides;
    }
    const counts = sides.map(counting.count);
    if (counts.length === 0) continue;
    const tokens = counts.reduce((sum, { tokens }) => sum + tokens, 0);
    const learned = counts.reduce((sum, { learned }) => sum + learned, 0);
    const longest = counts.length > 1 ? [Math.max(...counts.map(({ tokens }) => tokens))] : [];
    rows.push([slice, bytes, tokens, learned, ...longest]);
  }
  return { whole, rows, too_long: tooLong, hides };
}

/** What of a conversation's tools the template does not show; of both, the calls: those are learned. */
function hiddenOf({ turns, tools }: Conversation, shows: Counting["shows"]): Sample["hides"] {
  if (shows === null) return null;
  if (!shows.calls && turns.some(({ tool_calls }) => tool_calls !== undefined)) return "calls";
  return !shows.tools && tools.length > 0 ? "tools" : null;
}
