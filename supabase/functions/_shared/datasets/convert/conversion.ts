/** Converts a file's rows to canonical rows. The first row decides the format; canonical files pass through unchanged. */
import { type AddIssue, isObject } from "../report.ts";
import type { Rejection } from "../row_source.ts";
import {
  type Container,
  formatOfRow,
  isCanonical,
  otherFormat,
  type RowFormat,
  tableFields,
  unknownFormat,
} from "./detect.ts";
import { converters } from "./converters.ts";
import { type Converter, isAbsent, type Row } from "./fields.ts";
import { didYouMean, nearMiss } from "./near_miss.ts";

/** One row before and after conversion, as JSON that may be truncated. */
export interface ConversionSample {
  line: number;
  before: string;
  after: string;
}

/** A summary of a file's conversion, for display. */
export interface ConversionSummary {
  /** The row format and the container, such as `alpaca_csv`. */
  source_format: string;
  rows: number;
  /** Source fields that were not used. */
  ignored_fields: string[];
  /** The first three rows. */
  sample: ConversionSample[];
}

export interface ConversionState {
  container: Container;
  /** null until the first object row. */
  format: RowFormat | null;
  /** false: the rows are already canonical. */
  isNeeded: boolean;
  rows: number;
  ignored: string[];
  sample: ConversionSample[];
}

const tables: ReadonlySet<Container> = new Set(["csv", "tsv", "parquet"]);
const sampleRows = 3;
const maxIgnoredFields = 20;
const maxSampleLength = 1000;

/** A row as one line of JSON, and its parsed value. */
export interface JsonRow {
  text: string;
  value: unknown;
}

export class Conversion {
  #state: ConversionState;

  constructor(state: ConversionState) {
    this.#state = structuredClone(state);
  }

  static start(container: Container): ConversionState {
    return { container, format: null, isNeeded: false, rows: 0, ignored: [], sample: [] };
  }

  state(): ConversionState {
    return structuredClone(this.#state);
  }

  /** null: the file is already canonical, or has no readable row. */
  summary(): ConversionSummary | null {
    const { container, format, rows, ignored, sample } = this.#state;
    return format === null || !this.isNeeded
      ? null
      : { source_format: `${format}_${container}`, rows, ignored_fields: ignored, sample };
  }

  /** Whether rows are changed. */
  get isNeeded(): boolean {
    return this.#state.isNeeded;
  }

  /** Whether rows come from table cells, which cannot hold duplicate keys or numbers that overflow. */
  get isTable(): boolean {
    return tables.has(this.#state.container);
  }

  /** Detects the format from this row unless it is known. Returns why the file is unreadable, or null. */
  begin(value: unknown): Rejection | null {
    const state = this.#state;
    if (state.format !== null || !isObject(value)) return null;
    state.format = formatOfRow(value);
    state.isNeeded = state.format !== null &&
      (state.container !== "jsonl" || !isCanonical(state.format));
    return state.format === null && this.isTable ? unknownFormat(Object.keys(value), "columns") : null;
  }

  /** Whether a row's format differs from that of the previous rows, which is reported. */
  isMixed(value: unknown, addIssue: AddIssue): boolean {
    const { format } = this.#state;
    const other = format === null || !isObject(value) ? null : otherFormat(format, value);
    if (other === null) return false;
    addIssue(
      "mixed_formats",
      null,
      `is ${/^[aeiou]/.test(other) ? "an" : "a"} ${other} row, but the previous rows are ${format}`,
      "Use only one format per file.",
    );
    return true;
  }

  /** The canonical row; `skipped` if it has nothing to train on, and null if it is invalid. Both are reported. */
  convert(row: JsonRow, line: number, addIssue: AddIssue): JsonRow | "skipped" | null {
    const converted = this.#convert(row, addIssue);
    const state = this.#state;
    if (converted === null || converted === "skipped") return converted;
    state.rows += 1;
    if (state.sample.length < sampleRows) {
      state.sample.push({ line, before: cut(row.text), after: cut(converted.text) });
    }
    return converted;
  }

  #convert(row: JsonRow, addIssue: AddIssue): JsonRow | "skipped" | null {
    const { format } = this.#state;
    const { value } = row;
    // The canonical validation reports rows that are not objects or have no known format.
    if (!isObject(value) || format === null) return row;
    if (format === "chat" || format === "preference") {
      if (this.isTable) return this.#table(value, tableFields[format], addIssue);
      // Raw line breaks occur only between JSON tokens, so strings and numbers are unchanged.
      return { text: row.text.replace(/[\r\n]+/g, " "), value };
    }
    const converter: Converter = converters[format];
    if (!this.#known(value, converter.fields, addIssue)) return null;
    const made = converter.convert(value, addIssue, this.isTable);
    return made === null || made === "skipped" ? made : { text: JSON.stringify(made), value: made };
  }

  /** A table row whose cells hold JSON, or Parquet's nested values. */
  #table(row: Row, fields: readonly string[], addIssue: AddIssue): JsonRow | null {
    if (!this.#known(row, fields, addIssue)) return null;
    const members: string[] = [];
    for (const field of fields) {
      const cell = row[field];
      if (isAbsent(cell)) continue;
      if (typeof cell !== "string") {
        members.push(`${JSON.stringify(field)}:${JSON.stringify(cell)}`);
        continue;
      }
      try {
        JSON.parse(cell);
      } catch {
        addIssue("source_field", field, "is not JSON", "The column must hold JSON.");
        return null;
      }
      members.push(`${JSON.stringify(field)}:${cell.replace(/[\r\n]+/g, " ")}`);
    }
    const text = `{${members.join(",")}}`;
    return { text, value: JSON.parse(text) };
  }

  /** Records ignored fields; false if one looks like a misspelled field, which is reported. */
  #known(row: Row, fields: readonly string[], addIssue: AddIssue): boolean {
    const { ignored } = this.#state;
    let good = true;
    for (const field in row) {
      if (fields.includes(field) || isAbsent(row[field])) continue;
      const meant = nearMiss(field, fields);
      if (meant !== null && isAbsent(row[meant])) {
        addIssue(
          "unknown_field",
          null,
          `has the unknown field ${JSON.stringify(field.slice(0, 60))}`,
          `Allowed fields: ${fields.join(", ")}.${didYouMean(field, fields)}`,
        );
        good = false;
      } else if (ignored.length < maxIgnoredFields && !ignored.includes(field.slice(0, 60))) {
        ignored.push(field.slice(0, 60).toWellFormed());
      }
    }
    return good;
  }
}

const cut = (text: string) =>
  (text.length > maxSampleLength ? `${text.slice(0, maxSampleLength)}…` : text).toWellFormed();
