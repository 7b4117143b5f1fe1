/** Extrapolates from a sample of rows to the whole file, with ranges. */
import type { Sample } from "./sample.ts";

/** An estimate with a 95% interval. */
export interface Range {
  low: number;
  expected: number;
  high: number;
}

/** The estimated contents of a file. */
export interface FileEstimate {
  method: "counted" | "sampled" | "by_size";
  rows: Range;
  /** Trainable rows. */
  trained: Range;
  /** Trainable rows that exceed max_length and are truncated from the start. */
  truncated: Range;
  /** Rows without trainable tokens, which are skipped. */
  skipped: Range;
  /** Tokens of the trainable rows per epoch, after truncation. */
  tokens: Range;
  trainable: Range;
  sampled: number;
  too_long: number;
}

/** The uncertainty of counting by characters; see `countCharacters`. A tokenizer's count is exact. */
const uncertainty = { characters: { low: 0.65, high: 1.6 }, tokenizer: { low: 1, high: 1 } };
/** Student's t for 16 slices and 95%. */
const t = 2.13;
/** Bytes of JSON per token, if no row could be read (measured: 5.1 and 5.4 on two English datasets). */
const bytesPerToken = { low: 7, expected: 5, high: 2.5 };

/** The file's size and what its validation counted; null if it is not validated yet. */
export interface FileFacts {
  bytes: number;
  rows: number | null;
  skipped: number | null;
  /** By characters. */
  tokens: { total: number; trainable: number } | null;
}

/** Estimates a file from a sample or, without one, from its validation report and size. */
export function estimateFile(
  file: FileFacts,
  sample: Sample | null,
  counter: keyof typeof uncertainty,
  maxLength: number,
): FileEstimate {
  if (sample === null || sample.rows.length === 0) return bySize(file);
  const doubt = uncertainty[counter];
  type Row = Sample["rows"][number];
  const isTrainable = ([, , , trainable]: Row) => trainable > 0;
  // Both sides of a preference row are truncated by the excess of the longer one.
  const over = ([, , tokens, , longest = tokens]: Row, scale: number) =>
    Math.max(0, longest * scale - maxLength);
  const sides = (row: Row) => row.length > 4 ? 2 : 1;
  const total = (value: (row: Row, scale: number) => number, whole: Whole): Range => {
    if (sample.whole && counter === "tokenizer") {
      const sum = sample.rows.reduce((sum, row) => sum + value(row, 1), 0);
      return { low: sum, expected: sum, high: sum };
    }
    return {
      low: extrapolate(sample, (row) => value(row, doubt.low), whole).low,
      expected: extrapolate(sample, (row) => value(row, 1), whole).expected,
      high: extrapolate(sample, (row) => value(row, doubt.high), whole).high,
    };
  };
  const bytes: Whole = { of: ([, bytes]) => bytes, total: file.bytes };
  const rows = file.rows !== null
    ? exactly(file.rows)
    : sample.whole
    ? exactly(sample.rows.length)
    : rounded(extrapolate(sample, () => 1, bytes));
  const all: Whole = { of: () => 1, total: rows.expected };
  const without = file.skipped !== null
    ? exactly(file.skipped)
    : within(rounded(total((row) => isTrainable(row) ? 0 : 1, all)), rows.high);
  return {
    method: sample.whole && counter === "tokenizer" ? "counted" : "sampled",
    rows,
    skipped: without,
    trained: {
      low: Math.max(0, rows.low - without.high),
      expected: rows.expected - without.expected,
      high: rows.high - without.low,
    },
    truncated: within(
      rounded(total((row, scale) => isTrainable(row) && over(row, scale) > 0 ? 1 : 0, all)),
      rows.high,
    ),
    tokens: rounded(
      total((row, scale) => isTrainable(row) ? row[2] * scale - sides(row) * over(row, scale) : 0, bytes),
    ),
    trainable: rounded(
      total((row, scale) => Math.min(row[3] * scale, sides(row) * maxLength), bytes),
    ),
    sampled: sample.rows.length,
    too_long: sample.too_long,
  };
}

interface Whole {
  of: (row: Sample["rows"][number]) => number;
  total: number;
}

/**
 * The ratio estimator of cluster sampling (Cochran, Sampling Techniques, chapter 6): the total is the file's size times the
 * sample's ratio, and the slices' variance around that ratio gives the error.
 */
function extrapolate(sample: Sample, value: (row: Sample["rows"][number]) => number, whole: Whole): Range {
  const clusters = new Map<number, { value: number; size: number }>();
  for (const row of sample.rows) {
    const cluster = clusters.get(row[0]) ?? { value: 0, size: 0 };
    cluster.value += value(row);
    cluster.size += whole.of(row);
    clusters.set(row[0], cluster);
  }
  const found = [...clusters.values()];
  const size = found.reduce((sum, cluster) => sum + cluster.size, 0);
  const ratio = found.reduce((sum, cluster) => sum + cluster.value, 0) / size;
  const expected = ratio * whole.total;
  if (sample.whole) return exactly(expected);
  const n = found.length;
  const squares = found.reduce((sum, cluster) => sum + (cluster.value - ratio * cluster.size) ** 2, 0);
  const share = Math.min(1, size / whole.total);
  // A single slice gives no error estimate: assume ±50%.
  const error = n > 1
    ? t * whole.total * Math.sqrt((1 - share) * n / (n - 1) * squares) / size
    : expected / 2;
  // The rule of three: what does not occur in n rows occurs in at most 3 / n of all rows (95%).
  const unseen = ratio === 0 ? 3 / sample.rows.length * whole.total : 0;
  return { low: Math.max(0, expected - error), expected, high: expected + Math.max(error, unseen) };
}

function bySize(file: FileFacts): FileEstimate {
  const { low, high } = uncertainty.characters;
  const tokens = file.tokens === null
    ? {
      low: file.bytes / bytesPerToken.low,
      expected: file.bytes / bytesPerToken.expected,
      high: file.bytes / bytesPerToken.high,
    }
    : { low: file.tokens.total * low, expected: file.tokens.total, high: file.tokens.total * high };
  // Rows of 300 to 30,000 bytes, if nothing else is known.
  const rows = file.rows === null
    ? rounded({ low: file.bytes / 30_000, expected: file.bytes / 2000, high: file.bytes / 300 })
    : exactly(file.rows);
  const without = file.skipped ?? 0;
  const trained = (rows: number) => Math.max(1, rows - without);
  return {
    method: "by_size",
    rows,
    trained: { low: trained(rows.low), expected: trained(rows.expected), high: trained(rows.high) },
    truncated: { low: 0, expected: 0, high: rows.high },
    skipped: exactly(without),
    tokens: rounded(tokens),
    trainable: rounded({
      low: (file.tokens?.trainable ?? 0) * low,
      expected: file.tokens?.trainable ?? tokens.expected / 3,
      high: file.tokens === null ? tokens.high : file.tokens.trainable * high,
    }),
    sampled: 0,
    too_long: 0,
  };
}

const exactly = (value: number): Range => ({ low: value, expected: value, high: value });
const rounded = ({ low, expected, high }: Range): Range => ({
  low: Math.floor(low),
  expected: Math.round(expected),
  high: Math.ceil(high),
});
const within = (range: Range, max: number): Range => ({ ...range, high: Math.min(range.high, max) });
