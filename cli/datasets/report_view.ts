/** Prints a dataset report. */
import {
  type DatasetReport,
  type Finding,
  type LongRow,
  sentence,
} from "../../supabase/functions/_shared/datasets/report.ts";
import { nameCommands } from "../api/routes.ts";
import { formatBytes, formatCount, pluralize } from "../terminal/format.ts";
import { print, printFields, stdoutColors } from "../terminal/output.ts";

/** The fields that the API's report and the local one share. */
type Report = Omit<DatasetReport, "errors" | "warnings" | "problems"> & {
  problems: { [code: string]: number | undefined };
  errors?: Issue[];
  warnings: Issue[];
};
type Issue = Omit<Finding, "code"> & { code: string };

const maxListedDuplicates = 3;

export function printReport(name: string, report: Report): void {
  const errors = report.errors ?? [];
  const [longest] = report.longest_rows;
  const isValid = errors.length === 0 && report.error_rows === 0;
  print(`${isValid ? stdoutColors.green("valid") : stdoutColors.red("invalid")}  ${name}`);
  printFields([
    ["format", report.format],
    ["rows", describeRows(report)],
    ["duplicates", describeDuplicates(report)],
    [
      "tokens",
      `about ${formatCount(report.tokens.total)}, ${formatCount(report.tokens.trainable)} of them trainable`,
    ],
    ["longest row", longest === undefined ? null : describeLength(longest)],
  ]);
  printHistogram(report.tokens.histogram);
  for (const issue of errors) print(`${stdoutColors.red("error")}    ${describeIssue(issue)}`);
  for (const issue of report.warnings) print(`${stdoutColors.yellow("warning")}  ${describeIssue(issue)}`);
  const unlisted = Object.values(report.problems).reduce<number>((sum, rows) => sum + (rows ?? 0), 0) -
    errors.length - report.warnings.length;
  if (unlisted > 0) {
    const byKind = Object.entries(report.problems).map(([code, rows]) => `${code} ${formatCount(rows ?? 0)}`);
    print(`… and ${formatCount(unlisted)} more. By kind: ${byKind.join(", ")}.`);
  }
  // A problem of the whole file also stops validation, and has already been printed.
  const isWhole = errors.some(({ line }) => line === null);
  if (!report.complete && !isWhole) {
    print("Too many invalid rows: validation stopped before the end of the file.");
  }
}

const histogramWidth = 40;

/** A histogram of rows by length in tokens, from the shortest non-empty bucket to the longest. */
function printHistogram(buckets: Report["tokens"]["histogram"]): void {
  const first = buckets.findIndex(({ rows }) => rows > 0);
  if (first === -1) return;
  const shown = buckets.slice(first, buckets.findLastIndex(({ rows }) => rows > 0) + 1);
  const most = Math.max(...shown.map(({ rows }) => rows));
  const lines = shown.map(({ up_to, rows }, index) => ({
    label: up_to === null
      ? `over ${formatCount(buckets.at(-2)?.up_to ?? 0)}`
      : `${formatCount((buckets[first + index - 1]?.up_to ?? 0) + 1)}–${formatCount(up_to)}`,
    count: formatCount(rows),
    // At least one mark for a non-empty bucket.
    bar: "█".repeat(rows === 0 ? 0 : Math.max(1, Math.round(histogramWidth * rows / most))),
  }));
  const labelWidth = Math.max(...lines.map(({ label }) => label.length));
  const countWidth = Math.max(...lines.map(({ count }) => count.length));
  print(`  ${stdoutColors.dim("rows by length in tokens")}`);
  for (const { label, count, bar } of lines) {
    print(`    ${label.padStart(labelWidth)}  ${count.padStart(countWidth)}  ${bar}`.trimEnd());
  }
}

function describeRows({ rows, error_rows, rows_without_labels }: Report): string {
  return [
    formatCount(rows),
    error_rows > 0 ? `${formatCount(error_rows)} invalid` : null,
    rows_without_labels > 0 ? `${formatCount(rows_without_labels)} without trainable tokens` : null,
  ].filter((part) => part !== null).join(", ");
}

const describeLength = ({ line, bytes, tokens }: LongRow): string =>
  `line ${line}: ${formatBytes(bytes)}, about ${pluralize(tokens, "token")}`;

function describeDuplicates({ duplicates }: Report): string | null {
  if (duplicates.rows === 0) return null;
  const examples = duplicates.examples.slice(0, maxListedDuplicates)
    .map(({ line, first_line }) => `, line ${line} repeats line ${first_line}`);
  return `${duplicates.exact ? "" : "about "}${pluralize(duplicates.rows, "row")}${examples.join("")}`;
}

export const describeIssue = (issue: Issue): string =>
  `${issue.line === null ? "file:" : `line ${issue.line}:`} ${nameCommands(sentence(issue as Finding))}`;
