/** Detects a file's container by its first bytes, and the format of its rows by the fields of the first row. */
import type { Rejection } from "../row_source.ts";
import { csvDelimiter, type Delimiter } from "./csv.ts";
import { didYouMean } from "./near_miss.ts";

export type Container = "jsonl" | "json" | "csv" | "tsv" | "parquet";
export type RowFormat =
  | "chat"
  | "preference"
  | "prompt_completion"
  | "chosen_rejected"
  | "alpaca"
  | "sharegpt"
  | "brightrun-lora-v4";

/** The fields that identify a format; the first match wins. */
const signs: [RowFormat, string[]][] = [
  ["chat", ["messages"]],
  ["preference", ["preferred_output", "non_preferred_output"]],
  ["sharegpt", ["conversations"]],
  ["chosen_rejected", ["chosen", "rejected"]],
  ["alpaca", ["instruction"]],
  ["prompt_completion", ["prompt", "completion"]],
  ["brightrun-lora-v4", ["target_response", "current_user_input"]],
];

/** Known column names of tables; case is ignored. */
export const knownColumns: ReadonlySet<string> = new Set([
  ...signs.flatMap(([, fields]) => fields),
  ...["input", "output", "system", "history", "tools", "metadata"],
]);

/** The columns of canonical rows, which hold JSON. */
export const tableFields = {
  chat: ["messages", "tools", "functions", "parallel_tool_calls", "metadata"],
  preference: ["input", "preferred_output", "non_preferred_output"],
} as const;

/** JSON Lines, a JSON array, or a table with a header. */
export function detectContainer(head: string): { container: Container; delimiter: Delimiter | null } {
  if (/^\s*\[\s*([{\]]|$)/.test(head)) return { container: "json", delimiter: null };
  // Single quotes are Python's repr, which the JSON Lines validation explains.
  const delimiter = /^\s*($|[[{'\]}])/.test(head) ? null : csvDelimiter(head, knownColumns);
  if (delimiter === null) return { container: "jsonl", delimiter };
  return { container: delimiter === "\t" ? "tsv" : "csv", delimiter };
}

/** The format of a row; null if it is unknown. */
export function formatOfRow(row: Record<string, unknown>): RowFormat | null {
  return signs.find(([, fields]) => fields.some((field) => field in row))?.[0] ?? null;
}

/** The format of a row without any field of `format`; null if it has one, or if its format is unknown. */
export function otherFormat(format: RowFormat, row: Record<string, unknown>): RowFormat | null {
  const expected = signs.find(([name]) => name === format)?.[1] ?? [];
  return expected.some((field) => field in row) ? null : formatOfRow(row);
}

/** Whether a line in this format needs no conversion. */
export const isCanonical = (format: RowFormat): boolean => format === "chat" || format === "preference";

const signFields = signs.flatMap(([, fields]) => fields);

/** The rejection of a file whose first row has these fields. */
export function unknownFormat(fields: string[], called: "fields" | "columns"): Rejection {
  const meant = fields.map((field) => didYouMean(field, signFields)).find((text) => text !== "") ?? "";
  const names = fields.slice(0, 8).map((field) => JSON.stringify(field.slice(0, 40)).toWellFormed()).join(
    ", ",
  );
  return {
    code: "unknown_format",
    what: `has an unknown format: its ${called} are ${names}${fields.length > 8 ? ", …" : ""}`,
    fix: `${called === "columns" ? "Rename the columns. " : ""}` +
      `Supported formats: messages; prompt and completion; instruction and output; conversations; prompt, chosen and ` +
      `rejected; input, preferred_output and non_preferred_output.${meant}`,
  };
}
