/** Builds the report of a file. Its state (`counts`) is JSON. */
import {
  type AddIssue,
  type DatasetFormat,
  type DatasetReport,
  type Finding,
  type LongRow,
  maxBrokenRows,
  maxErrors,
  maxLongestRows,
  maxWarnings,
  type ProblemCode,
  problemLevels,
  type RowFacts,
  tokenBuckets,
} from "./report.ts";

/**
 * The approximate bytes of text per token. With current vocabularies, English prose has 4 to 5, code and other scripts
 * fewer. The base model's tokenizer gives exact counts.
 */
export const bytesPerToken = 4;
/** How many problems of one kind to list per row: a row can have a hundred invalid messages. */
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
  /** The longest first; of equally long rows, the earlier one. */
  longest: LongRow[];
  problems: Partial<Record<ProblemCode, number>>;
  errorRows: number;
  errors: Finding[];
  warnings: Finding[];
  stopped: "broken" | "too_many" | null;
}

export class ReportBuilder {
  readonly counts: Counts;
  #line: number | null = null;
  /** The current line's problems and how often each occurred. */
  #reported = new Map<ProblemCode, number>();

  constructor(counts: Counts | null) {
    // A copy, because it is modified in place.
    this.counts = counts === null
      ? {
        format: null,
        rows: 0,
        assistant: 0,
        trainable: 0,
        withoutLabels: 0,
        tokens: 0,
        trainableTokens: 0,
        histogram: Array<number>(tokenBuckets.length + 1).fill(0),
        longest: [],
        problems: {},
        errorRows: 0,
        errors: [],
        warnings: [],
        stopped: null,
      }
      : structuredClone(counts);
  }

  /** Adds a problem of the current line, or of the file. A property, because it is passed as a function. */
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

  /** Whether the current line has this problem. */
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

  /** The file as a whole is invalid. */
  stop(): void {
    this.counts.stopped = "broken";
  }

  /** Counts a row that is skipped because it has nothing to train on. */
  skip(): void {
    this.counts.withoutLabels += 1;
  }

  /** Counts a parsed row. */
  add(bytes: Uint8Array, text: string, facts: RowFacts): void {
    const { counts } = this;
    if (counts.format === null) counts.format = facts.format;
    else if (counts.format !== facts.format) {
      this.addIssue(
        "mixed_formats",
        null,
        `is a ${facts.format} row, but the previous rows are ${counts.format}`,
        "Use only one format per file.",
      );
    }
    counts.assistant += facts.assistant;
    if (facts.trainable > 0) counts.trainable += 1;
    else counts.withoutLabels += 1;
    // Bytes per character, from the whole row.
    const share = bytes.length / text.length / bytesPerToken;
    counts.tokens += Math.ceil(facts.chars * share);
    counts.trainableTokens += Math.ceil(facts.trainableChars * share);
    // What max_length truncates.
    const tokens = Math.ceil((facts.longestChars ?? facts.chars) * share);
    let bucket = 0;
    while (bucket < tokenBuckets.length && tokens > (tokenBuckets[bucket] ?? 0)) bucket += 1;
    counts.histogram[bucket] = (counts.histogram[bucket] ?? 0) + 1;
    this.#addLength({ line: this.#line ?? 0, bytes: bytes.length, tokens });
  }

  #addLength(row: LongRow): void {
    const { longest } = this.counts;
    const shortest = longest.at(-1);
    if (longest.length === maxLongestRows && shortest !== undefined && row.tokens <= shortest.tokens) return;
    const rank = longest.findIndex(({ tokens }) => tokens < row.tokens);
    longest.splice(rank === -1 ? longest.length : rank, 0, row);
    longest.splice(maxLongestRows);
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
        method: `about ${bytesPerToken} bytes of text per token`,
        total: counts.tokens,
        trainable: counts.trainableTokens,
        histogram: counts.histogram.map((rows, i) => ({ up_to: tokenBuckets[i] ?? null, rows })).filter((
          { rows },
        ) => rows > 0),
      },
      longest_rows: counts.longest,
      problems: counts.problems,
      error_rows: counts.errorRows,
      complete: counts.stopped === null,
      errors: this.#wholeFile(),
      warnings: counts.warnings,
    };
  }
}

const isError = (code: ProblemCode) => problemLevels[code] === "error";
