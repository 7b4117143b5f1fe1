/** Shared by the converters: their form, and how they read the strings and messages of a source row. */
import { type AddIssue, isObject, shown } from "../report.ts";

export type Row = Record<string, unknown>;

/** A canonical message and canonical rows. */
export type Message = { role: string; content: unknown } & Row;
export type ChatRow = { messages: Message[] } & Row;
export type PreferenceRow = {
  input: ChatRow;
  preferred_output: [Message];
  non_preferred_output: [Message];
};

export interface Converter {
  /** The fields that are read; others are ignored and listed. */
  fields: readonly string[];
  /**
   * The canonical row; `skipped` if it has nothing to train on, and null if it is invalid. Both are reported. `isTable`:
   * a cell may hold messages as JSON; elsewhere, a string is text, even if it is JSON.
   */
  convert(row: Row, addIssue: AddIssue, isTable: boolean): ChatRow | PreferenceRow | "skipped" | null;
}

/** Spreadsheets and data frames write unused cells as an empty string or null. */
export const isAbsent = (value: unknown): boolean => value === undefined || value === null || value === "";

/** A required string; null if it is missing or invalid, which is reported. */
export function requiredText(row: Row, field: string, form: string, addIssue: AddIssue): string | null {
  const value = row[field];
  if (typeof value === "string" && value.trim() !== "") return value;
  addIssue("source_field", field, isAbsent(value) ? "is missing" : describeInvalidText(value), form);
  return null;
}

/** An optional string: null if it is absent, `false` if it is not a string, which is reported. */
export function optionalText(
  row: Row,
  field: string,
  form: string,
  addIssue: AddIssue,
): string | null | false {
  const value = row[field];
  if (isAbsent(value)) return null;
  if (typeof value === "string") return value;
  addIssue("source_field", field, describeInvalidText(value), form);
  return false;
}

const describeInvalidText = (value: unknown) =>
  typeof value === "string" ? "is blank" : `is ${shown(value)}, but must be a string`;

/** Table cells hold JSON as a string: parses it. Other values are returned unchanged. */
export function parseCell(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value; // not JSON: the caller reports it as text
  }
}

/** The system message, if there is one. */
export const systemTurn = (text: string | null): Message[] =>
  text === null ? [] : [{ role: "system", content: text }];

/** Whether this is a nonempty list of messages with roles. */
export function areMessages(value: unknown): value is Message[] {
  return Array.isArray(value) && value.length > 0 &&
    value.every((item) => isObject(item) && typeof item.role === "string");
}
