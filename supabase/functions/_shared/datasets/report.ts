/**
 * What a check of a training file finds. Nothing here needs Deno: the command line can check a file before it is
 * uploaded with the same code.
 */

export type DatasetFormat = "chat" | "prompt_completion" | "brightrun-lora-v4" | "preference";

/**
 * What the trainer can read (`trainer/tunebase_trainer/data/rows.py`). Everything below is checked in full either way;
 * a part that is false is refused with a sentence.
 */
export const trainerReads = { tool_calls: true, brightrun: true };
export type Reads = typeof trainerReads;

/** A row longer than this is no row: 4 MiB are about a million tokens. */
export const mostLineBytes = 4 * 2 ** 20;
/** So many errors and warnings are told with their lines; the totals count them all. */
export const mostErrors = 100;
export const mostWarnings = 20;
/** After so many broken rows the rest of the file is not read: it is another kind of file, and reading costs. */
export const mostBrokenRows = 10_000;
/** Deeper nesting than this is refused: Python's parser stops at its recursion limit. */
export const mostDepth = 100;

/** Every kind of problem. An error keeps the file from being trained on; a warning is told. */
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
  // Prompt and completion, and brightrun-lora-v4.
  text: "error",
  history: "error",
  duplicate_turn: "warning",
  // Preferences.
  preference: "error",
  same_answers: "warning",
} as const satisfies Record<string, "error" | "warning">;
export type ProblemCode = keyof typeof problemLevels;

/** One thing that is wrong with a row: where, what, and what to do. A sentence: `{field} {what}. {fix}`. */
export interface Finding {
  /** From 1; null for the file as a whole. */
  line: number | null;
  code: ProblemCode;
  field: string | null;
  what: string;
  fix: string;
}

/** The finding as a sentence. */
export function sentence({ field, what, fix }: Finding): string {
  return `${field === null ? "" : `${field} `}${what}. ${fix}`;
}

/** How a row's check tells what it finds. */
export type Tell = (code: ProblemCode, field: string | null, what: string, fix: string) => void;

/** What is counted of one row. Lengths are in characters of its texts. */
export interface RowFacts {
  format: DatasetFormat;
  assistant: number;
  learned: number;
  chars: number;
  learnedChars: number;
  /** Of the longer one, where a row is more than one conversation. */
  longestChars?: number;
  /** How many keys the row has in all its objects, where its check saw them all; null where it did not. */
  keys: number | null;
}

export interface DatasetReport {
  format: DatasetFormat | null;
  /** Lines that hold a row, broken ones too. */
  rows: number;
  assistant_messages: number;
  trainable_rows: number;
  rows_without_labels: number;
  /** Copies of rows, byte for byte. `exact` up to 16,384 different rows; past that an estimate from a sample of them. */
  duplicates: { rows: number; exact: boolean; examples: { line: number; first_line: number }[] };
  tokens: {
    /** How they were counted. */
    method: string;
    total: number;
    learned: number;
    /** Rows by their tokens, a preference row by its longer side; a bucket holds rows up to `up_to`, the last (null) all longer ones. */
    histogram: { up_to: number | null; rows: number }[];
  };
  longest_row: { line: number; bytes: number; tokens: number } | null;
  /** How many rows have each problem. */
  problems: Partial<Record<ProblemCode, number>>;
  error_rows: number;
  /** false: there were so many broken rows that the rest was not read. */
  complete: boolean;
  errors: Finding[];
  warnings: Finding[];
}

/** A value of the file as a message shows it: short, and of characters that JSON and Postgres can hold. */
export function shown(value: unknown): string {
  const text = jsonText(value);
  return (text.length > 60 ? `${text.slice(0, 57)}…` : text).toWellFormed();
}

/** The value as JSON, or an ellipsis where it is nested too deep for that; which is told by itself. */
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

export function halfCharacter(field: string, tell: Tell): void {
  tell(
    "lone_surrogate",
    field,
    "holds half of a character (a lone surrogate such as \\ud83d)",
    "Cut texts between characters when you make the file, and write it as UTF-8.",
  );
}
