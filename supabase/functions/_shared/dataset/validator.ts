/**
 * Checks a training file as its bytes come, in bounded memory. Its state is JSON and belongs to a byte offset: a check can
 * stop anywhere and go on elsewhere. The whole of it is a function of the bytes, however they are cut.
 */
import { checkMeta } from "./brightrun.ts";
import { Document, type DocumentState } from "./document.ts";
import { countKeys, duplicateKey, hasDuplicateKey } from "./keys.ts";
import { Lines, type LinesState } from "./lines.ts";
import { recognise } from "./recognise.ts";
import {
  type DatasetFormat,
  type DatasetReport,
  type Finding,
  isObject,
  mostBrokenRows,
  mostDepth,
  mostErrors,
  mostLineBytes,
  mostWarnings,
  type ProblemCode,
  problemLevels,
  type Reads,
  type RowFacts,
  shown,
  trainerReads,
} from "./report.ts";
import { checkRow, formats } from "./rows.ts";
import { hashRow, RowSketch, type SketchState } from "./sketch.ts";
import type { RowKind, RowSource, Sink } from "./source.ts";
import { notJson } from "./not_json.ts";

/**
 * Bytes of text that make about one token. English prose has 4 to 5 with today's vocabularies, code and other scripts
 * fewer: an estimate until the base model's own tokenizer counts.
 */
export const bytesPerToken = 4;
const buckets = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];
/** So many bytes decide what kind of file it is. */
const headBytes = 4096;
/** A row of a hundred broken messages is told by its first. */
const mostOfARow = 5;

interface Counts {
  format: DatasetFormat | null;
  rows: number;
  assistant: number;
  learnable: number;
  withoutLabels: number;
  tokens: number;
  learnedTokens: number;
  histogram: number[];
  longest: { line: number; bytes: number; tokens: number } | null;
  problems: Partial<Record<ProblemCode, number>>;
  errorRows: number;
  errors: Finding[];
  warnings: Finding[];
  /** brightrun-lora-v4: what the header announces. */
  announced: number | null;
  hasMeta: boolean;
  stopped: "broken" | "too_many" | null;
}

/** Where a check is: JSON. It goes on from {@link Validator.offset}. */
export interface ValidatorState {
  source: { kind: "lines"; state: LinesState } | { kind: "document"; state: DocumentState } | null;
  counts: Counts;
  sketch: SketchState;
}

export class Validator implements Sink {
  #reads: Reads;
  #head: Uint8Array[] = [];
  #headLength = 0;
  #source: RowSource | null = null;
  #kind: "lines" | "document" = "lines";
  #counts: Counts = {
    format: null,
    rows: 0,
    assistant: 0,
    learnable: 0,
    withoutLabels: 0,
    tokens: 0,
    learnedTokens: 0,
    histogram: Array<number>(buckets.length + 1).fill(0),
    longest: null,
    problems: {},
    errorRows: 0,
    errors: [],
    warnings: [],
    announced: null,
    hasMeta: false,
    stopped: null,
  };
  #sketch = new RowSketch();
  /** Of the line that is being checked: what was told, and how often it may be told in full. */
  #line: number | null = null;
  #told = new Map<ProblemCode, number>();
  readonly #tell = (code: ProblemCode, field: string | null, what: string, fix: string) =>
    this.#find({ line: this.#line, code, field, what, fix });
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  readonly #strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  /** `reads`: what the trainer reads, for tests. `state`: goes on where another left off. */
  constructor(options: { reads?: Reads; state?: ValidatorState | null } = {}) {
    this.#reads = options.reads ?? trainerReads;
    const { state } = options;
    if (!state) return;
    // A copy: the counts are written to in place.
    this.#counts = structuredClone(state.counts);
    this.#sketch = RowSketch.from(state.sketch);
    if (state.source === null) return;
    this.#kind = state.source.kind;
    this.#source = state.source.kind === "lines"
      ? new Lines(this, state.source.state)
      : new Document(this, state.source.state);
  }

  /** The byte from which a check with {@link state} goes on. */
  get offset(): number {
    return this.#source?.offset ?? 0;
  }

  /** Nothing more needs to be read: the file is broken as a whole, or in too many rows. */
  get stopped(): boolean {
    return this.#counts.stopped !== null;
  }

  state(): ValidatorState {
    const state = this.#source?.state() ?? null;
    return {
      source: state === null ? null : { kind: this.#kind, state } as ValidatorState["source"],
      counts: structuredClone(this.#counts),
      sketch: this.#sketch.state(),
    };
  }

  /** For comparing files by their rows; see {@link RowSketch.sample}. */
  sample(): { threshold: number; hashes: number[] } {
    return this.#sketch.sample();
  }

  push(chunk: Uint8Array): void {
    if (this.stopped) return;
    if (this.#source !== null) {
      this.#source.push(chunk);
      return;
    }
    this.#head.push(chunk.slice());
    this.#headLength += chunk.length;
    if (this.#headLength >= headBytes) this.#begin();
  }

  /** The report of all that was pushed. */
  end(): DatasetReport {
    if (this.#source === null && !this.stopped) this.#begin();
    if (!this.stopped) this.#source?.end();
    const counts = this.#counts;
    this.#line = null;
    if (counts.errorRows === 0 && Object.keys(counts.problems).every((code) => !isError(code))) this.#whole();
    return {
      format: counts.format,
      rows: counts.rows,
      assistant_messages: counts.assistant,
      learnable_rows: counts.learnable,
      rows_without_labels: counts.withoutLabels,
      duplicates: this.#sketch.duplicates(),
      tokens: {
        method: `about ${bytesPerToken} bytes of text a token`,
        total: counts.tokens,
        learned: counts.learnedTokens,
        histogram: counts.histogram.map((rows, i) => ({ up_to: buckets[i] ?? null, rows })).filter((
          { rows },
        ) => rows > 0),
      },
      longest_row: counts.longest,
      problems: counts.problems,
      error_rows: counts.errorRows,
      complete: counts.stopped === null,
      errors: counts.errors,
      warnings: counts.warnings,
    };
  }

  /** What can be wrong with a file whose rows are all right. */
  #whole(): void {
    const counts = this.#counts;
    if (counts.rows === 0) {
      this.#tell(
        "no_rows",
        null,
        `has no rows (${this.offset} bytes)`,
        `Send one JSON object a line: ${formats}`,
      );
    } else if (counts.learnable === 0) {
      this.#tell(
        "nothing_to_learn",
        null,
        "has no row to learn from",
        "Give at least one assistant message a weight other than 0 (or one row a target_response).",
      );
    }
    if (counts.announced !== null && counts.announced !== counts.rows) {
      this.#tell(
        "row_count",
        null,
        `announces ${counts.announced} pairs in its header and has ${counts.rows}`,
        "Was it cut off, or edited? It is trained on as it is.",
      );
    }
  }

  /** Enough is here to say what kind of file it is. */
  #begin(): void {
    const head = new Uint8Array(this.#headLength);
    let at = 0;
    for (const piece of this.#head) {
      head.set(piece, at);
      at += piece.length;
    }
    this.#head = [];
    const { kind, start, problem } = recognise(head);
    if (problem !== null) {
      this.#counts.stopped = "broken";
      this.#tell(problem.code, null, problem.what, problem.fix);
      return;
    }
    this.#kind = kind;
    this.#source = kind === "document"
      ? new Document(this, Document.start(start))
      : new Lines(this, { offset: start, lines: 0, skipping: false });
    this.#source.push(head.subarray(start));
  }

  row(bytes: Uint8Array, line: number, kind: RowKind, cut: boolean): void {
    if (this.stopped) return;
    this.#line = line;
    const row = this.#parse(bytes, line, cut);
    const meta = kind === "meta" ? row?.value : isObject(row?.value) ? row.value._meta : undefined;
    if (meta !== undefined) this.#meta(meta, kind);
    else if (kind === "row") this.#count(bytes, row);
    this.#endLine();
  }

  tooLong(line: number): void {
    if (this.stopped) return;
    this.#line = line;
    this.#counts.rows += 1;
    this.#tell(
      "line_too_long",
      null,
      `is longer than ${mostLineBytes / 2 ** 20} MiB`,
      "One row is one conversation; is a line break missing?",
    );
    this.#endLine();
  }

  broken(line: number, what: "truncated" | "not_json" | "too_deep"): void {
    this.#line = line;
    this.#counts.stopped = "broken";
    if (what === "truncated") this.#tell("truncated", null, ...cutOff);
    else if (what === "too_deep") this.#tell("too_deep", null, ...nested);
    else this.#tell("not_json", null, "is not JSON here", "The file must be one JSON object.");
    this.#endLine();
  }

  /** The row's text and value; null when it is none, which has been told. */
  #parse(bytes: Uint8Array, line: number, cut: boolean): { text: string; value: unknown } | null {
    let text: string;
    try {
      // The strict decoder is half as fast: it is asked only where a replacement character came out.
      text = this.#decoder.decode(bytes);
      if (text.includes("\ufffd")) text = this.#strict.decode(bytes);
    } catch {
      this.#tell("not_utf8", null, "is not UTF-8", "Save the file as UTF-8.");
      return null;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      if (cut && !text.endsWith("}")) this.#tell("truncated", null, ...cutOff);
      else this.#find({ line, field: null, ...notJson(text, error) });
      return null;
    }
    const keys = countKeys(value, mostDepth);
    if (keys === Infinity) {
      this.#tell("too_deep", null, ...nested);
      return null;
    }
    if (hasDuplicateKey(text, keys)) {
      this.#tell(
        "duplicate_key",
        null,
        `has the key ${shown(duplicateKey(text))} twice in one object`,
        "Programs differ in which they take; keep one.",
      );
    }
    return { text, value };
  }

  #meta(meta: unknown, kind: RowKind): void {
    if (this.#counts.hasMeta) return;
    this.#counts.hasMeta = true;
    this.#counts.announced = checkMeta(
      meta,
      kind === "meta" ? "training_file_metadata" : "_meta",
      this.#tell,
    );
  }

  #count(bytes: Uint8Array, row: { text: string; value: unknown } | null): void {
    const counts = this.#counts;
    counts.rows += 1;
    const facts = row === null ? null : checkRow(row.value, this.#reads, this.#tell);
    if (row === null || facts === null) return;
    if (counts.format === null) counts.format = facts.format;
    else if (counts.format !== facts.format) {
      this.#tell(
        "mixed_formats",
        null,
        `is a ${facts.format} row, and the rows before are ${counts.format}`,
        "Use one format in a file.",
      );
    }
    counts.assistant += facts.assistant;
    if (facts.learned > 0) counts.learnable += 1;
    else counts.withoutLabels += 1;
    this.#measure(bytes, row.text, facts);
    const hash = hashRow(bytes);
    this.#sketch.add(hash, this.#line ?? 0);
  }

  #measure(bytes: Uint8Array, text: string, facts: RowFacts): void {
    const counts = this.#counts;
    // How many bytes a character has, as in the whole row.
    const share = bytes.length / text.length / bytesPerToken;
    const tokens = Math.ceil(facts.chars * share);
    counts.tokens += tokens;
    counts.learnedTokens += facts.learned > 0 ? Math.ceil(facts.learnedChars * share) : 0;
    let bucket = 0;
    while (bucket < buckets.length && tokens > (buckets[bucket] ?? 0)) bucket += 1;
    counts.histogram[bucket] = (counts.histogram[bucket] ?? 0) + 1;
    if (counts.longest === null || tokens > counts.longest.tokens) {
      counts.longest = { line: this.#line ?? 0, bytes: bytes.length, tokens };
    }
  }

  #find(finding: Finding): void {
    const { code } = finding;
    const counts = this.#counts;
    const times = this.#told.get(code) ?? 0;
    this.#told.set(code, times + 1);
    if (times === 0) counts.problems[code] = (counts.problems[code] ?? 0) + 1;
    const error = isError(code);
    const kept = error ? counts.errors : counts.warnings;
    if (times < mostOfARow && kept.length < (error ? mostErrors : mostWarnings)) kept.push(finding);
  }

  #endLine(): void {
    if (this.#told.size === 0) return;
    if ([...this.#told.keys()].some(isError)) this.#counts.errorRows += 1;
    this.#told.clear();
    if (this.#counts.errorRows >= mostBrokenRows) this.#counts.stopped ??= "too_many";
  }
}

const cutOff = [
  "ends in the middle of a row",
  "The upload, or the program that wrote the file, seems to have been cut off; make the file again.",
] as const;
const nested = [
  `is nested more than ${mostDepth} levels deep`,
  "Write deep structures as a text; the trainer's parser takes no more.",
] as const;

const isError = (code: string) => problemLevels[code as ProblemCode] === "error";

/** Checks bytes that are all here. */
export function validate(bytes: Uint8Array, reads: Reads = trainerReads): DatasetReport {
  const validator = new Validator({ reads });
  validator.push(bytes);
  return validator.end();
}
