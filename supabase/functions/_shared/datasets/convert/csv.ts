/**
 * CSV and TSV with a header (RFC 4180): gives each record out as the JSON object of its columns' texts, with the line on
 * which it begins.
 *
 * Written here because a check must continue from a byte offset, take bytes as they come, and run in Deno, Node and browsers
 * alike: csv-parse needs Node's streams, and neither it nor Papa Parse says at which byte a record ends.
 */
import { maxLineBytes, shown } from "../report.ts";
import { ByteBuffer, type Rejection, type RowSource, type Sink } from "../row_source.ts";

export type Delimiter = "," | ";" | "\t";

export interface CsvState {
  offset: number;
  lines: number;
  delimiter: Delimiter;
  /** null until the header was read. */
  columns: string[] | null;
  /** A record that is too long is being passed over, from here within it. */
  skipping: Place | null;
}

/** A place in a record: at a field's beginning, in a bare or a quoted text, or after a quote that may end it. */
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
      this.sink.reject(this.#state.lines + 1, {
        code: "csv",
        what: "has a quoted text without an end",
        fix: 'Close it with ", and write a quote within it twice ("").',
      }, true);
    } else this.#end(new Uint8Array());
  }

  /** The last bytes of a record, with its line break. */
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
    // Spreadsheets write empty rows as delimiters alone.
    if (fields.every((field) => field.trim() === "")) return;
    if (columns === null) return this.#header(fields, line);
    if (fields.length !== columns.length) {
      return this.sink.reject(line, {
        code: "csv",
        what: `has ${fields.length} fields, and the header has ${columns.length}`,
        fix: `Put a text that holds ${
          delimiter === "\t" ? "a tab" : `"${delimiter}"`
        }, a quote or a line break in double quotes.`,
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
        what: `has the column ${shown(twice)} twice`,
        fix: "Name each column once in the header.",
      }, true);
    }
    this.#state.columns = columns;
  }
}

/** The fields of one record without its line break, or why there are none. */
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
          what: `has ${shown(text.slice(at, at + 20))} after a quoted text`,
          fix: 'Write a quote within a quoted text twice ("").',
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
  what: "has a quoted text without an end",
  fix: 'Close it with ", and write a quote within it twice ("").',
};

/** The delimiter of a file that begins so, if its first line is a header of at least two columns; else null. */
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
