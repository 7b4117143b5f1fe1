/** The one detector: what a file's rows stand in, by its first bytes; and their format, by the fields of its first row. */
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

/** The fields by which a format is known, in the order in which they decide. */
const signs: [RowFormat, string[]][] = [
  ["chat", ["messages"]],
  ["preference", ["preferred_output", "non_preferred_output"]],
  ["sharegpt", ["conversations"]],
  ["chosen_rejected", ["chosen", "rejected"]],
  ["alpaca", ["instruction"]],
  ["prompt_completion", ["prompt", "completion"]],
  ["brightrun-lora-v4", ["target_response", "current_user_input"]],
];

/** What the columns of a table may be called: their case does not matter. */
export const knownColumns: ReadonlySet<string> = new Set([
  ...signs.flatMap(([, fields]) => fields),
  ...["input", "output", "system", "history", "tools", "metadata"],
]);

/** The columns of canonical rows, which hold JSON. */
export const tableFields = {
  chat: ["messages", "tools", "functions", "parallel_tool_calls", "metadata"],
  preference: ["input", "preferred_output", "non_preferred_output"],
} as const;

/** By its head: JSON lines, a JSON array, or a table with a header. */
export function detectContainer(head: string): { container: Container; delimiter: Delimiter | null } {
  if (/^\s*\[\s*([{\]]|$)/.test(head)) return { container: "json", delimiter: null };
  // Single quotes are Python's own notation, which the check of lines explains.
  const delimiter = /^\s*($|[[{'\]}])/.test(head) ? null : csvDelimiter(head, knownColumns);
  if (delimiter === null) return { container: "jsonl", delimiter };
  return { container: delimiter === "\t" ? "tsv" : "csv", delimiter };
}

/** The format of a row; null where it has none. */
export function formatOfRow(row: Record<string, unknown>): RowFormat | null {
  return signs.find(([, fields]) => fields.some((field) => field in row))?.[0] ?? null;
}

/** Whether a line of this format is trained on as it is. */
export const isCanonical = (format: RowFormat, row: Record<string, unknown>): boolean =>
  format === "chat" || format === "preference" || format === "brightrun-lora-v4" ||
  format === "prompt_completion" && !Array.isArray(row.prompt) && !Array.isArray(row.completion);

const signFields = signs.flatMap(([, fields]) => fields);

/** Why rows with these fields are of no format. */
export function unknownFormat(fields: string[], called: "fields" | "columns"): Rejection {
  const meant = fields.map((field) => didYouMean(field, signFields)).find((text) => text !== "") ?? "";
  const names = fields.slice(0, 8).map((field) => JSON.stringify(field.slice(0, 40)).toWellFormed()).join(
    ", ",
  );
  return {
    code: "unknown_format",
    what: `has an unknown format: its ${called} are ${names}${fields.length > 8 ? ", …" : ""}`,
    fix:
      `Supported formats: messages; prompt and completion; instruction and output; conversations; prompt, chosen and ` +
      `rejected; input, preferred_output and non_preferred_output.${meant}`,
  };
}
