/**
 * Validates a training file as a stream, in bounded memory. Its state is JSON and belongs to a byte offset, so a validation
 * can stop anywhere and resume elsewhere. The result depends only on the bytes, not on how they are chunked.
 */
import { checkMeta } from "./convert/brightrun.ts";
import {
  Conversion,
  type ConversionState,
  type ConversionSummary,
  type JsonRow,
} from "./convert/conversion.ts";
import { CsvRecords, type CsvState } from "./convert/csv.ts";
import { detectContainer, knownColumns } from "./convert/detect.ts";
import { JsonArray, type JsonArrayState } from "./convert/json_array.ts";
import { Document, type DocumentState } from "./document.ts";
import { checkParsedValues } from "./parsed_values.ts";
import { countKeys, duplicateKey, hasDuplicateKey } from "./duplicate_keys.ts";
import { Lines, type LinesState } from "./lines.ts";
import { explainJsonError } from "./json_error_hints.ts";
import { detectFormat } from "./file_signature.ts";
import {
  type DatasetReport,
  isObject,
  maxDepth,
  maxLineBytes,
  type Reads,
  shown,
  trainerReads,
} from "./report.ts";
import { checkRow, formats } from "./rows.ts";
import { type FingerprintState, hashRow, RowFingerprints } from "./row_fingerprints.ts";
import type { Rejection, RowKind, RowSource, Sink } from "./row_source.ts";
import { type Counts, ReportBuilder } from "./report_builder.ts";

/** How many bytes to read before detecting the kind of file. */
const headBytes = 4096;

/** A validator's state. JSON. Resume from {@link Validator.offset}. */
export interface ValidatorState {
  source: SourceState | null;
  conversion: ConversionState | null;
  counts: Counts;
  sketch: FingerprintState;
  /** brightrun-lora-v4: the header, and the number of pairs that it declares. */
  header: { pairs: number | null } | null;
}

type SourceState =
  | { kind: "lines"; state: LinesState }
  | { kind: "document"; state: DocumentState }
  | { kind: "json_array"; state: JsonArrayState }
  | { kind: "csv"; state: CsvState };

/** Receives the canonical rows of a converted file one by one, each a line of JSON with its line break. */
export type RowOutput = (line: Uint8Array) => void;

export class Validator implements Sink {
  #reads: Reads;
  #head: Uint8Array[] = [];
  #headLength = 0;
  #source: RowSource | null = null;
  #kind: SourceState["kind"] = "lines";
  #conversion: Conversion | null = null;
  readonly #output: RowOutput;
  #builder: ReportBuilder;
  #fingerprints = new RowFingerprints();
  #header: ValidatorState["header"] = null;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  readonly #strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #encoder = new TextEncoder();

  /**
   * `reads`: the formats that the trainer can read (for tests). `state`: resumes another validation. `output`: receives the converted
   * rows of a file in another format; see {@link conversion}. `table`: the caller parses the file and passes its rows to
   * {@link record}.
   */
  constructor(
    options: { reads?: Reads; state?: ValidatorState | null; output?: RowOutput; table?: "parquet" | null } =
      {},
  ) {
    this.#reads = options.reads ?? trainerReads;
    this.#output = options.output ?? (() => {});
    if (options.table) this.#conversion = new Conversion(Conversion.start(options.table));
    const { state } = options;
    this.#builder = new ReportBuilder(state?.counts ?? null);
    if (!state) return;
    this.#header = state.header;
    this.#fingerprints = RowFingerprints.from(state.sketch);
    if (state.source === null) return;
    this.#kind = state.source.kind;
    this.#source = this.#open(state.source);
    if (state.conversion !== null) this.#conversion = new Conversion(state.conversion);
  }

  #open(source: SourceState): RowSource {
    switch (source.kind) {
      case "lines":
        return new Lines(this, source.state);
      case "document":
        return new Document(this, source.state);
      case "json_array":
        return new JsonArray(this, source.state);
      case "csv":
        return new CsvRecords(this, source.state, knownColumns);
    }
  }

  /** How the file was converted; null if its rows are already canonical. */
  get conversion(): ConversionSummary | null {
    return this.#conversion?.summary() ?? null;
  }

  /** Where to resume with {@link state}. */
  get offset(): number {
    return this.#source?.offset ?? 0;
  }

  /** Whether to stop reading: the file as a whole, or too many of its rows, are invalid. */
  get stopped(): boolean {
    return this.#builder.counts.stopped !== null;
  }

  state(): ValidatorState {
    const state = this.#source?.state() ?? null;
    return {
      source: state === null ? null : { kind: this.#kind, state } as ValidatorState["source"],
      conversion: this.#conversion?.state() ?? null,
      counts: structuredClone(this.#builder.counts),
      sketch: this.#fingerprints.state(),
      header: this.#header,
    };
  }

  /** See {@link RowFingerprints.sample}. */
  sample(): { threshold: number; hashes: number[] } {
    return this.#fingerprints.sample();
  }

  push(chunk: Uint8Array): void {
    if (this.stopped) return;
    if (this.#source !== null) {
      this.#source.push(chunk);
      return;
    }
    this.#head.push(chunk.slice());
    this.#headLength += chunk.length;
    if (this.#headLength >= headBytes) this.#start();
  }

  /** The report on all pushed bytes. */
  end(): DatasetReport {
    if (this.#source === null && this.#conversion === null && !this.stopped) this.#start();
    if (!this.stopped) this.#source?.end();
    if (!this.#builder.hasErrors) this.#checkFile();
    return this.#builder.report(this.#fingerprints.duplicates());
  }

  /** Checks the file as a whole, if all of its rows are valid. */
  #checkFile(): void {
    const { counts, addIssue } = this.#builder;
    if (counts.rows === 0) {
      this.#builder.addIssue(
        "no_rows",
        null,
        `has no rows (${this.offset} bytes)`,
        `Send one JSON object per line: ${formats}`,
      );
    } else if (counts.trainable === 0) {
      addIssue(
        "nothing_to_learn",
        null,
        "has no trainable rows",
        "At least one assistant message needs a weight other than 0 (or one row a target_response).",
      );
    }
    const pairs = this.#header?.pairs ?? null;
    if (pairs !== null && pairs !== counts.rows) {
      addIssue(
        "row_count",
        null,
        `declares ${pairs} pairs in its header but has ${counts.rows}`,
        "It is used as is. Check that it was not truncated.",
      );
    }
  }

  /** Detects the kind of file and starts reading rows. */
  #start(): void {
    const head = new Uint8Array(this.#headLength);
    let at = 0;
    for (const piece of this.#head) {
      head.set(piece, at);
      at += piece.length;
    }
    this.#head = [];
    const { kind, start, problem } = detectFormat(head);
    if (problem !== null) {
      this.#builder.stop();
      this.#builder.addIssue(problem.code, null, problem.what, problem.fix);
      return;
    }
    const source = this.#rows(kind, new TextDecoder().decode(head.subarray(start)), start);
    this.#kind = source.kind;
    this.#source = this.#open(source);
    this.#source.push(head.subarray(start));
  }

  /** The source of rows for a file with this beginning. */
  #rows(kind: "lines" | "document", head: string, start: number): SourceState {
    if (kind === "document") {
      this.#conversion = new Conversion(Conversion.start("json"));
      return { kind, state: Document.start(start) };
    }
    const { container, delimiter } = detectContainer(head);
    this.#conversion = new Conversion(Conversion.start(container));
    if (delimiter !== null) return { kind: "csv", state: CsvRecords.start(start, delimiter) };
    return container === "json"
      ? { kind: "json_array", state: JsonArray.start(start) }
      : { kind: "lines", state: { offset: start, lines: 0, skipping: false } };
  }

  reject(line: number | null, { code, what, fix }: Rejection, stop: boolean): void {
    if (this.stopped) return;
    if (line !== null) {
      this.#builder.beginLine(line);
      this.#builder.counts.rows += 1;
    }
    if (stop) this.#builder.stop();
    this.#builder.addIssue(code, null, what, fix);
    this.#builder.endLine();
  }

  row(bytes: Uint8Array, line: number, kind: RowKind, cut: boolean): void {
    if (this.stopped) return;
    this.#builder.beginLine(line);
    const row = this.#parse(bytes, cut);
    const meta = kind === "meta" ? row?.value : isObject(row?.value) ? row.value._meta : undefined;
    if (meta !== undefined) this.#meta(meta, kind);
    else if (kind === "row") this.#count(bytes, line, row);
    this.#builder.endLine();
  }

  record(value: Record<string, unknown>, line: number): void {
    if (this.stopped) return;
    this.#builder.beginLine(line);
    this.#count(new Uint8Array(), line, { text: JSON.stringify(value), value });
    this.#builder.endLine();
  }

  tooLong(line: number): void {
    if (this.stopped) return;
    this.#builder.beginLine(line);
    this.#builder.counts.rows += 1;
    this.#builder.addIssue("line_too_long", null, ...tooLong);
    this.#builder.endLine();
  }

  broken(line: number, what: "truncated" | "not_json" | "too_deep"): void {
    this.#builder.beginLine(line);
    this.#builder.stop();
    if (what === "truncated") this.#builder.addIssue("truncated", null, ...cutOff);
    else if (what === "too_deep") this.#builder.addIssue("too_deep", null, ...nested);
    else {this.#builder.addIssue(
        "not_json",
        null,
        "is not valid JSON at this line",
        "The file must be one JSON object.",
      );}
    this.#builder.endLine();
  }

  /** The row's text and value; null if it is not valid JSON, which is reported. */
  #parse(bytes: Uint8Array, cut: boolean): JsonRow | null {
    let text: string;
    try {
      // The strict decoder is half as fast, so it is used only if the first result has a replacement character.
      text = this.#decoder.decode(bytes);
      if (text.includes("\ufffd")) text = this.#strict.decode(bytes);
    } catch {
      this.#builder.addIssue("not_utf8", null, "is not UTF-8", "Save the file as UTF-8.");
      return null;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      if (cut && !text.endsWith("}")) this.#builder.addIssue("truncated", null, ...cutOff);
      else {
        const { code, what, fix } = explainJsonError(text, error);
        this.#builder.addIssue(code, null, what, fix);
      }
      return null;
    }
    return { text, value };
  }

  #meta(meta: unknown, kind: RowKind): void {
    const field = kind === "meta" ? "training_file_metadata" : "_meta";
    this.#header ??= { pairs: checkMeta(meta, field, this.#builder.addIssue) };
  }

  #count(bytes: Uint8Array, line: number, row: JsonRow | null): void {
    this.#builder.counts.rows += 1;
    if (row === null) return;
    const problem = this.#conversion?.begin(row.value) ?? null;
    if (problem !== null) return this.#rejectFile(problem);
    if (this.#conversion?.isMixed(row.value, this.#builder.addIssue)) return;
    if (this.#conversion?.isNeeded) this.#convert(this.#conversion, row, line);
    else this.#check(bytes, row, line);
  }

  #check(bytes: Uint8Array, row: JsonRow, line: number): void {
    const facts = checkRow(row.value, this.#reads, this.#builder.addIssue);
    this.#checkKeys(row, facts?.keys ?? null);
    checkParsedValues(row.text, row.value, this.#builder.hasIssue("lone_surrogate"), this.#builder.addIssue);
    if (facts === null) return;
    this.#builder.add(bytes, row.text, facts);
    this.#fingerprints.add(hashRow(bytes), line);
  }

  /** Converts a row in another format and checks the result, which is what is trained on. */
  #convert(conversion: Conversion, source: JsonRow, line: number): void {
    if (!conversion.isTable) {
      this.#checkKeys(source, null);
      checkParsedValues(source.text, source.value, false, this.#builder.addIssue);
      if (this.#builder.lineHasErrors) return;
    }
    const row = conversion.convert(source, line, this.#builder.addIssue);
    if (row === null) return;
    if (row === "skipped") return this.#builder.skip();
    const canonical = this.#encoder.encode(`${row.text}\n`);
    const bytes = canonical.subarray(0, -1);
    if (bytes.length > maxLineBytes) this.#builder.addIssue("line_too_long", null, ...tooLong);
    else this.#check(bytes, row, line);
    if (!this.#builder.lineHasErrors) this.#output(canonical);
  }

  /** Rejects the whole file, because the current row shows that no other row is readable either. */
  #rejectFile({ code, what, fix }: Rejection): void {
    this.#builder.stop();
    this.#builder.beginFile();
    this.#builder.addIssue(code, null, what, fix);
  }

  /** `known`: the row's number of keys, if already counted. */
  #checkKeys({ text, value }: JsonRow, known: number | null): void {
    const keys = known ?? countKeys(value, maxDepth);
    if (keys === Infinity) {
      this.#builder.addIssue("too_deep", null, ...nested);
    } else if (hasDuplicateKey(text, keys)) {
      this.#builder.addIssue(
        "duplicate_key",
        null,
        `has the duplicate key ${shown(duplicateKey(text))}`,
        "Parsers disagree on which value wins; keep only one.",
      );
    }
  }
}

const tooLong = [
  `is longer than ${maxLineBytes / 2 ** 20} MiB`,
  "Each row is one conversation. Check for a missing line break.",
] as const;
const cutOff = [
  "ends in the middle of a row",
  "The file seems to be truncated. Create and upload it again.",
] as const;
const nested = [
  `is nested more than ${maxDepth} levels deep`,
  "Encode deep structures as strings; the trainer's parser has this limit.",
] as const;

/** Validates a complete file. */
export function validate(bytes: Uint8Array, reads: Reads = trainerReads): DatasetReport {
  const validator = new Validator({ reads });
  validator.push(bytes);
  return validator.end();
}
