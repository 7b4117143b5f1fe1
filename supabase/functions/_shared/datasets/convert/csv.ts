/**
 * Streams CSV and TSV with a header (RFC 4180): each record becomes an object of strings, with the line it starts on.
 *
 * Our own parser, because validation must resume at a byte offset, accept chunks, and run in Deno, Node and browsers:
 * csv-parse needs Node's streams, and neither it nor Papa Parse reports the byte at which a record ends.
 */
import { maxLineBytes, shown } from "../report.ts";
import { ByteBuffer, type Rejection, type RowSource, type Sink } from "../row_source.ts";

export type Delimiter = "," | ";" | "\t";

export interface CsvState {
  offset: number;
  lines: number;
  delimiter: Delimiter;
  /** null until the header has been read. */
  columns: string[] | null;
  /** The position in an oversized record that is being skipped. */
  skipping: Place | null;
}

/** The position in a record: at a field's start, in an unquoted or quoted field, or after a quote that may end it. */
type Place = "begin" | "bare" | "quoted" | "quote";

export class CsvRecords implements RowSource {
  #state: CsvState;
  #held = new ByteBuffer();
  #place: Place = "begin";
  #lineBreaks = 0;
  #failed = false;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(private readonly sink: Sink, state: CsvState, private readonly known: ReadonlySet<string>) {
    this.#state = structuredClone(state);
    if (state.skipping !== null) this.#place = state.skipping;
  }

  static start(offset: number, delimiter: Delimiter): CsvState {
    return { offset, lines: 0, delimiter, columns: null, skipping: null };
  }

  get offset(): number {
    return this.#state.offset;
  }

  state(): CsvState {
    return structuredClone(this.#state);
  }

  push(chunk: Uint8Array): void {
    const state = this.#state;
    const delimiter = state.delimiter.charCodeAt(0);
    let from = 0;
    for (let at = 0; at < chunk.length && !this.#failed; at++) {
      const byte = chunk[at];
      if (byte === 10) this.#lineBreaks += 1;
      if (this.#place === "quoted") {
        if (byte === 34) this.#place = "quote";
      } else if (byte === 10) {
        this.#end(chunk.subarray(from, at + 1));
        from = at + 1;
      } else if (byte === delimiter) this.#place = "begin";
      else if (byte === 34 && this.#place !== "bare") this.#place = "quoted";
      else if (byte !== 13 || this.#place !== "quote") this.#place = "bare";
    }
    if (from < chunk.length && !this.#failed) this.#keep(chunk.subarray(from));
  }

  end(): void {
    if (this.#failed || this.#held.length === 0) return;
    if (this.#place === "quoted") {
      this.sink.reject(this.#state.lines + 1, unclosed, true);
    } else this.#end(new Uint8Array());
  }

  /** Ends a record. `last`: its final bytes, with the line break. */
  #end(last: Uint8Array): void {
    const state = this.#state;
    const line = state.lines + 1;
    const skipped = state.skipping !== null;
    const tooLong = this.#held.length + last.length > maxLineBytes;
    state.offset += this.#held.length + last.length;
    state.lines += this.#lineBreaks;
    state.skipping = null;
    this.#lineBreaks = 0;
    this.#place = "begin";
    if (skipped || tooLong) {
      this.#held.clear();
      if (!skipped) this.sink.tooLong(line);
    } else this.#record(this.#held.take(last), line);
  }

  #keep(rest: Uint8Array): void {
    const state = this.#state;
    if (state.skipping === null && this.#held.length + rest.length <= maxLineBytes) {
      this.#held.add(rest);
      return;
    }
    if (state.skipping === null) this.sink.tooLong(state.lines + 1);
    state.offset += this.#held.length + rest.length;
    state.lines += this.#lineBreaks;
    state.skipping = this.#place;
    this.#lineBreaks = 0;
    this.#held.clear();
  }

  #record(bytes: Uint8Array, line: number): void {
    const { delimiter, columns } = this.#state;
    let text: string;
    try {
      text = this.#decoder.decode(bytes).replace(/\r?\n$|\r$/, "");
    } catch {
      return this.sink.reject(line, {
        code: "not_utf8",
        what: "is not UTF-8",
        fix: 'Save the file as UTF-8 (in Excel: "CSV UTF-8").',
      }, columns === null);
    }
    const fields = splitRecord(text, delimiter);
    if (!Array.isArray(fields)) return this.sink.reject(line, fields, columns === null);
    // Spreadsheets write empty rows as delimiters only.
    if (fields.every((field) => field.trim() === "")) return;
    if (columns === null) return this.#header(fields, line);
    if (fields.length !== columns.length) {
      return this.sink.reject(line, {
        code: "csv",
        what: `has ${fields.length} fields, but the header has ${columns.length}`,
        fix: `Put double quotes around fields that contain ${
          delimiter === "\t" ? "a tab" : `"${delimiter}"`
        }, a quote or a line break.`,
      }, false);
    }
    const row = Object.fromEntries(columns.map((column, i) => [column, fields[i] ?? ""]));
    this.sink.record(row, line);
  }

  #header(fields: string[], line: number): void {
    const columns = fields.map((field) => {
      const name = field.trim();
      return this.known.has(name.toLowerCase()) ? name.toLowerCase() : name;
    });
    const twice = columns.find((name, i) => columns.indexOf(name) < i);
    if (twice !== undefined) {
      this.#failed = true;
      return this.sink.reject(line, {
        code: "csv",
        what: `has a duplicate column ${shown(twice)}`,
        fix: "Column names must be unique.",
      }, true);
    }
    this.#state.columns = columns;
  }
}

/** Splits a record, without its line break, into fields; or returns why it is malformed. */
export function splitRecord(text: string, delimiter: Delimiter): string[] | Rejection {
  const fields: string[] = [];
  for (let at = 0;;) {
    let field = "";
    if (text[at] === '"') {
      for (let from = at + 1;;) {
        const quote = text.indexOf('"', from);
        if (quote < 0) return unclosed;
        field += text.slice(from, quote);
        at = quote + 1;
        if (text[at] !== '"') break;
        field += '"';
        from = at + 1;
      }
      if (at < text.length && text[at] !== delimiter) {
        return {
          code: "csv",
          what: `has ${shown(text.slice(at, at + 20))} after a quoted field`,
          fix: 'Double each quote inside a quoted field ("").',
        };
      }
    } else {
      const end = text.indexOf(delimiter, at);
      field = text.slice(at, end < 0 ? text.length : end);
      at = end < 0 ? text.length : end;
    }
    fields.push(field);
    if (at >= text.length) return fields;
    at += 1;
  }
}

const unclosed: Rejection = {
  code: "csv",
  what: "has an unterminated quoted field",
  fix: 'Close it with ", and double each quote inside it ("").',
};

/** The delimiter, if the first line is a header of at least two columns; null otherwise. */
export function csvDelimiter(text: string, known: ReadonlySet<string>): Delimiter | null {
  const [line = ""] = text.replace(/^\s+/, "").split(/\r?\n/, 1);
  for (const delimiter of ["\t", ",", ";"] as const) {
    const fields = splitRecord(line.slice(0, 2000), delimiter);
    if (!Array.isArray(fields) || fields.length < 2) continue;
    const names = fields.map((field) => field.trim());
    if (
      names.some((name) => known.has(name.toLowerCase())) ||
      names.every((name) => /^[\w .-]{1,40}$/.test(name))
    ) {
      return delimiter;
    }
  }
  return null;
}
