/** What is counted and told of a file's rows. Its state is JSON. */
import {
  type AddIssue,
  type DatasetFormat,
  type DatasetReport,
  type Finding,
  maxBrokenRows,
  maxErrors,
  maxWarnings,
  type ProblemCode,
  problemLevels,
  type RowFacts,
} from "./report.ts";

/**
 * Bytes of text that make about one token. English prose has 4 to 5 with today's vocabularies, code and other scripts
 * fewer: an estimate until the base model's own tokenizer counts.
 */
export const bytesPerToken = 4;
const buckets = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];
/** A row of a hundred broken messages is told by its first. */
const maxIssuesPerRow = 5;

export interface Counts {
  format: DatasetFormat | null;
  rows: number;
  assistant: number;
  trainable: number;
  withoutLabels: number;
  tokens: number;
  trainableTokens: number;
  histogram: number[];
  longest: { line: number; bytes: number; tokens: number } | null;
  problems: Partial<Record<ProblemCode, number>>;
  errorRows: number;
  errors: Finding[];
  warnings: Finding[];
  stopped: "broken" | "too_many" | null;
}

export class ReportBuilder {
  readonly counts: Counts;
  #line: number | null = null;
  /** What was told of the line, and how often. */
  #reported = new Map<ProblemCode, number>();

  constructor(counts: Counts | null) {
    // A copy: it is written to in place.
    this.counts = counts === null
      ? {
        format: null,
        rows: 0,
        assistant: 0,
        trainable: 0,
        withoutLabels: 0,
        tokens: 0,
        trainableTokens: 0,
        histogram: Array<number>(buckets.length + 1).fill(0),
        longest: null,
        problems: {},
        errorRows: 0,
        errors: [],
        warnings: [],
        stopped: null,
      }
      : structuredClone(counts);
  }

  /** Tells a problem of the line that was begun, or of the file. A property: it is handed on. */
  readonly addIssue: AddIssue = (code, field, what, fix) => {
    const { counts } = this;
    const times = this.#reported.get(code) ?? 0;
    this.#reported.set(code, times + 1);
    if (times === 0) counts.problems[code] = (counts.problems[code] ?? 0) + 1;
    const error = isError(code);
    const kept = error ? counts.errors : counts.warnings;
    if (times < maxIssuesPerRow && kept.length < (error ? maxErrors : maxWarnings)) {
      kept.push({ line: this.#line, code, field, what, fix });
    }
  };

  /** Whether the line that was begun has this problem. */
  hasIssue(code: ProblemCode): boolean {
    return this.#reported.has(code);
  }

  /** Whether the line that was begun has an error. */
  get lineHasErrors(): boolean {
    return [...this.#reported.keys()].some(isError);
  }

  beginLine(line: number): void {
    this.#line = line;
  }

  /** Issues from here on concern the file as a whole. */
  beginFile(): void {
    this.#line = null;
  }

  endLine(): void {
    this.#line = null;
    if (this.#reported.size === 0) return;
    if ([...this.#reported.keys()].some(isError)) this.counts.errorRows += 1;
    this.#reported.clear();
    if (this.counts.errorRows >= maxBrokenRows) this.counts.stopped ??= "too_many";
  }

  /** The file is broken as a whole. */
  stop(): void {
    this.counts.stopped = "broken";
  }

  /** Counts a row that was read. */
  add(bytes: Uint8Array, text: string, facts: RowFacts): void {
    const { counts } = this;
    if (counts.format === null) counts.format = facts.format;
    else if (counts.format !== facts.format) {
      this.addIssue(
        "mixed_formats",
        null,
        `is a ${facts.format} row, and the rows before are ${counts.format}`,
        "Use one format in a file.",
      );
    }
    counts.assistant += facts.assistant;
    if (facts.trainable > 0) counts.trainable += 1;
    else counts.withoutLabels += 1;
    // How many bytes a character has, as in the whole row.
    const share = bytes.length / text.length / bytesPerToken;
    counts.tokens += Math.ceil(facts.chars * share);
    counts.trainableTokens += Math.ceil(facts.trainableChars * share);
    // What max_length cuts.
    const tokens = Math.ceil((facts.longestChars ?? facts.chars) * share);
    let bucket = 0;
    while (bucket < buckets.length && tokens > (buckets[bucket] ?? 0)) bucket += 1;
    counts.histogram[bucket] = (counts.histogram[bucket] ?? 0) + 1;
    if (counts.longest === null || tokens > counts.longest.tokens) {
      counts.longest = { line: this.#line ?? 0, bytes: bytes.length, tokens };
    }
  }

  get hasErrors(): boolean {
    return this.counts.errors.length > 0;
  }

  /**
   * A problem that every row has is the file's: it is reported once; only for equal errors, because a sentence about one row must
   * not describe another.
   */
  #wholeFile(): Finding[] {
    const { errors, problems, rows } = this.counts;
    const reported = new Set<ProblemCode>();
    return errors.flatMap((finding) => {
      const { code, line } = finding;
      if (line === null || rows < 2 || problems[code] !== rows) return [finding];
      const same = errors.filter((other) => other.code === code);
      if (
        same.some(({ field, what, fix }) =>
          field !== finding.field || what !== finding.what || fix !== finding.fix
        )
      ) {
        return [finding];
      }
      if (reported.has(code)) return [];
      reported.add(code);
      return [{
        ...finding,
        line: null,
        what: `${finding.what}, in each of ${rows.toLocaleString("en-US")} rows`,
      }];
    });
  }

  report(duplicates: DatasetReport["duplicates"]): DatasetReport {
    const { counts } = this;
    return {
      format: counts.format,
      rows: counts.rows,
      assistant_messages: counts.assistant,
      trainable_rows: counts.trainable,
      rows_without_labels: counts.withoutLabels,
      duplicates,
      tokens: {
        method: `about ${bytesPerToken} bytes of text a token`,
        total: counts.tokens,
        learned: counts.trainableTokens,
        histogram: counts.histogram.map((rows, i) => ({ up_to: buckets[i] ?? null, rows })).filter((
          { rows },
        ) => rows > 0),
      },
      longest_row: counts.longest,
      problems: counts.problems,
      error_rows: counts.errorRows,
      complete: counts.stopped === null,
      errors: this.#wholeFile(),
      warnings: counts.warnings,
    };
  }
}

const isError = (code: ProblemCode) => problemLevels[code] === "error";
