/** The validation report of a training file. Does not use Deno, so that the CLI can validate files before uploading. */

/** The formats of canonical rows. Files in other formats are converted to one of them. */
export type DatasetFormat = "chat" | "preference";

/**
 * The optional formats that the trainer can read (`trainer/tunebase_trainer/data/rows.py`). Rows in a format that is
 * false are validated and rejected as unsupported.
 */
export const trainerReads = { tool_calls: true };
export type Reads = typeof trainerReads;

/** The maximum length of a row: 4 MiB are about a million tokens. */
export const maxLineBytes = 4 * 2 ** 20;
/** How many errors and warnings a report lists; its totals count all of them. */
export const maxErrors = 100;
export const maxWarnings = 20;
/** After this many invalid rows, the rest of the file is not read. */
export const maxBrokenRows = 10_000;
/** The maximum nesting. Python's JSON parser fails at its recursion limit. */
export const maxDepth = 100;

/** All kinds of problems. A file with an error cannot be used for training. */
export const problemLevels = {
  // The file.
  no_rows: "error",
  not_text: "error",
  utf16: "error",
  truncated: "error",
  nothing_to_learn: "error",
  mixed_formats: "error",
  unsupported: "error",
  wrong_version: "error",
  row_count: "warning",
  // A line.
  not_utf8: "error",
  nul: "error",
  line_too_long: "error",
  not_json: "error",
  not_object: "error",
  too_deep: "error",
  duplicate_key: "error",
  lone_surrogate: "error",
  unknown_format: "error",
  unknown_field: "error",
  // A conversation.
  messages: "error",
  role: "error",
  content: "error",
  weight: "error",
  name: "error",
  no_assistant: "error",
  no_labels: "warning",
  no_user: "warning",
  consecutive_roles: "warning",
  trailing_user_turn: "warning",
  // Tools.
  tools: "error",
  tool_calls: "error",
  tool_answer: "error",
  double_encoded_arguments: "warning",
  // Other tools' formats: a column or field of theirs, and how a CSV file is written.
  source_field: "error",
  csv: "error",
  // brightrun-lora-v4.
  duplicate_turn: "warning",
  // Preferences.
  preference: "error",
  same_answers: "warning",
} as const satisfies Record<string, "error" | "warning">;
export type ProblemCode = keyof typeof problemLevels;

/** A problem with a row or the file. Reads as a sentence: `{field} {what}. {fix}`. */
export interface Finding {
  /** From 1; null for the file as a whole. */
  line: number | null;
  code: ProblemCode;
  field: string | null;
  what: string;
  fix: string;
}

/** A finding as a sentence. */
export function sentence({ field, what, fix }: Finding): string {
  return `${field === null ? "" : `${field} `}${what}. ${fix}`;
}

/** Adds a problem of the current row to the report. */
export type AddIssue = (code: ProblemCode, field: string | null, what: string, fix: string) => void;

/** The counts of one row. Lengths are in characters of text. */
export interface RowFacts {
  format: DatasetFormat;
  assistant: number;
  trainable: number;
  chars: number;
  trainableChars: number;
  /** The longest conversation, if the row has more than one. */
  longestChars?: number;
  /** The number of keys in all of the row's objects; null if they were not counted. */
  keys: number | null;
}

/** The upper bounds of the histogram's buckets, in tokens. Values of max_length are usually among them. */
export const tokenBuckets = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
  .flatMap((bound) => [bound, bound * 1.5]).concat(131_072);
export const maxLongestRows = 5;

export interface LongRow {
  line: number;
  bytes: number;
  tokens: number;
}

export interface DatasetReport {
  format: DatasetFormat | null;
  /** Rows, including invalid ones. */
  rows: number;
  assistant_messages: number;
  trainable_rows: number;
  rows_without_labels: number;
  /** Byte-identical copies of rows. Exact up to 16,384 distinct rows; estimated from a sample beyond that. */
  duplicates: { rows: number; exact: boolean; examples: { line: number; first_line: number }[] };
  tokens: {
    /** How tokens were counted. */
    method: string;
    total: number;
    trainable: number;
    /** Rows by token count (a preference row by its longer side). The last bucket (null) has all longer rows. */
    histogram: { up_to: number | null; rows: number }[];
  };
  /** Up to `maxLongestRows`, the longest first. */
  longest_rows: LongRow[];
  /** The number of rows with each problem. */
  problems: Partial<Record<ProblemCode, number>>;
  error_rows: number;
  /** false: there were too many invalid rows, and the rest was not read. */
  complete: boolean;
  errors: Finding[];
  warnings: Finding[];
}

/** A value for a message: truncated, and with only characters that Postgres can store. */
export function shown(value: unknown): string {
  const text = jsonText(value);
  return (text.length > 60 ? `${text.slice(0, 57)}…` : text).toWellFormed();
}

/** A value as JSON, or an ellipsis if it is nested too deeply, which is reported separately. */
export function jsonText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch (error) {
    if (error instanceof RangeError) return "…";
    throw error;
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

export function addLoneSurrogate(field: string, addIssue: AddIssue): void {
  addIssue(
    "lone_surrogate",
    field,
    "contains a lone surrogate (such as \\ud83d, half of a character)",
    "Split text only between characters, and write the file as UTF-8.",
  );
}
