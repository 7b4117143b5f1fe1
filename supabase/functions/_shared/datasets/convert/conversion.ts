/**
 * Turns the rows of one file into the rows that are trained on: the file's format is known by its first row, then each
 * row has one converter. A file that is canonical already passes as it is.
 */
import { type AddIssue, isObject } from "../report.ts";
import type { Rejection } from "../row_source.ts";
import {
  type Container,
  formatOfRow,
  isCanonical,
  type RowFormat,
  tableFields,
  unknownFormat,
} from "./detect.ts";
import { type Converter, converters } from "./converters.ts";
import { isAbsent, type Row } from "./fields.ts";
import { didYouMean, nearMiss } from "./near_miss.ts";

/** One row before and after, as JSON texts that may be cut. */
export interface ConversionSample {
  line: number;
  before: string;
  after: string;
}

/** What was done to a file, for people. */
export interface ConversionSummary {
  /** `alpaca_csv`: the rows' format, and what they stand in. */
  source_format: string;
  rows: number;
  /** Fields of the source that nothing was made of. */
  ignored_fields: string[];
  /** The first three rows. */
  sample: ConversionSample[];
}

export interface ConversionState {
  container: Container;
  /** null until a row has said it. */
  format: RowFormat | null;
  /** false: the rows are canonical as they are. */
  isNeeded: boolean;
  rows: number;
  ignored: string[];
  sample: ConversionSample[];
}

const tables: ReadonlySet<Container> = new Set(["csv", "tsv", "parquet"]);
const sampleRows = 3;
const mostIgnored = 20;
const mostShown = 1000;

/** A row's JSON on one line, and what it parses to. */
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

  /** null: the file is canonical as it is, or has no row that could be read. */
  summary(): ConversionSummary | null {
    const { container, format, rows, ignored, sample } = this.#state;
    return format === null || !this.isNeeded
      ? null
      : { source_format: `${format}_${container}`, rows, ignored_fields: ignored, sample };
  }

  /** Whether rows change on their way. */
  get isNeeded(): boolean {
    return this.#state.isNeeded;
  }

  /** Whether the rows are made of a table's cells: no key of theirs can stand twice, and no number be too large. */
  get isTable(): boolean {
    return tables.has(this.#state.container);
  }

  /** Decides the format by this row if none has before. Returns why the file cannot be read at all, or null. */
  begin(value: unknown): Rejection | null {
    const state = this.#state;
    if (state.format !== null || !isObject(value)) return null;
    state.format = formatOfRow(value);
    state.isNeeded = state.format !== null &&
      (state.container !== "jsonl" || !isCanonical(state.format, value));
    return state.format === null && this.isTable ? unknownFormat(Object.keys(value), "columns") : null;
  }

  /** The canonical row; null where the row cannot become one, which has been reported. */
  convert(row: JsonRow, line: number, addIssue: AddIssue): JsonRow | null {
    const converted = this.#convert(row, addIssue);
    const state = this.#state;
    if (converted === null) return null;
    state.rows += 1;
    if (state.sample.length < sampleRows) {
      state.sample.push({ line, before: cut(row.text), after: cut(converted.text) });
    }
    return converted;
  }

  #convert(row: JsonRow, addIssue: AddIssue): JsonRow | null {
    const { format } = this.#state;
    const { value } = row;
    // What is no object, or of no format, is reported by the canonical check.
    if (!isObject(value) || format === null) return row;
    if (format === "chat" || format === "preference") {
      if (this.isTable) return this.#table(value, tableFields[format], addIssue);
      // Line breaks stand between JSON's tokens alone: the texts stay as they are, and so does every number.
      return { text: row.text.replace(/[\r\n]+/g, " "), value };
    }
    const converter: Converter = converters[format];
    if (!this.#known(value, converter.fields, addIssue)) return null;
    const made = converter.convert(value, addIssue);
    return made === null ? null : { text: JSON.stringify(made), value: made };
  }

  /** A row of a table whose cells hold JSON, or what a Parquet file has in its place. */
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
        addIssue("source_field", field, "is not JSON", "The column must hold the JSON of the row's field.");
        return null;
      }
      members.push(`${JSON.stringify(field)}:${cell.replace(/[\r\n]+/g, " ")}`);
    }
    const text = `{${members.join(",")}}`;
    return { text, value: JSON.parse(text) };
  }

  /** Notes the fields that are not read; false where one seems to be a misspelled one, which is reported. */
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
      } else if (ignored.length < mostIgnored && !ignored.includes(field.slice(0, 60))) {
        ignored.push(field.slice(0, 60).toWellFormed());
      }
    }
    return good;
  }
}

const cut = (text: string) =>
  (text.length > mostShown ? `${text.slice(0, mostShown)}…` : text).toWellFormed();
