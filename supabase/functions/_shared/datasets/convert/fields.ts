/** What the converters share: texts and lists of messages of a source row, checked as they are read. */
import { type AddIssue, isObject, shown } from "../report.ts";

export type Row = Record<string, unknown>;

/** A message, and a row, as they are trained on. */
export type Message = { role: string; content: unknown } & Row;
export type ChatRow = { messages: Message[] } & Row;
export type PreferenceRow = {
  input: ChatRow;
  preferred_output: [Message];
  non_preferred_output: [Message];
};

/** Spreadsheets and data frames write what is not used as an empty text or null. */
export const isAbsent = (value: unknown): boolean => value === undefined || value === null || value === "";

/** A text that must be there; null where it is not, which has been reported. */
export function needText(row: Row, field: string, form: string, addIssue: AddIssue): string | null {
  const value = row[field];
  if (typeof value === "string" && value.trim() !== "") return value;
  addIssue("source_field", field, isAbsent(value) ? "is missing" : mustBeText(value), form);
  return null;
}

/** A text that may be there: null where it is not, `false` where it is no text, which has been reported. */
export function optionalText(
  row: Row,
  field: string,
  form: string,
  addIssue: AddIssue,
): string | null | false {
  const value = row[field];
  if (isAbsent(value)) return null;
  if (typeof value === "string") return value;
  addIssue("source_field", field, mustBeText(value), form);
  return false;
}

const mustBeText = (value: unknown) =>
  typeof value === "string" ? "is blank" : `is ${shown(value)}, and must be a text`;

/** A column of a table holds its JSON as a text. */
export function unpacked(value: unknown): unknown {
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

/** Is it a list of messages that have roles already? */
export function areMessages(value: unknown): value is Message[] {
  return Array.isArray(value) && value.length > 0 &&
    value.every((item) => isObject(item) && typeof item.role === "string");
}
