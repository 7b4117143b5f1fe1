/** `files convert`: a file in another format as the JSONL that is trained on, with the server's own converter. */
import { Buffer } from "node:buffer";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import process from "node:process";
import type { ConversionSummary } from "../supabase/functions/_shared/datasets/convert/conversion.ts";
import { type DatasetReport, type Finding, sentence } from "../supabase/functions/_shared/datasets/report.ts";
import { Validator } from "../supabase/functions/_shared/datasets/validator.ts";
import { addCommand, type Command, type Common, examples } from "./command.ts";
import { isGzip, printReport, text } from "./dataset.ts";
import { CliError } from "./errors.ts";
import { isParquet, parquetRows } from "./parquet.ts";
import { count, note, paint, print, printFacts, printJson, Transfer } from "./output.ts";

export function addConvert(files: Command): void {
  examples(
    addCommand(
      files,
      "convert <path>",
      "Convert CSV, Parquet, JSON, ShareGPT, Alpaca and other files to canonical JSONL; no login needed",
    )
      .option(
        "--to <path>",
        "write the converted rows there, - for stdout; without it the first rows are shown",
      )
      .option("--preview", "show the first rows before and after, and write nothing")
      .action(convert),
    "files convert rows.csv --preview",
    "files convert sharegpt.json --to rows.jsonl",
  );
}

interface Options extends Common {
  to?: string;
  preview?: boolean;
}

async function convert(path: string, options: Options): Promise<void> {
  const to = options.preview ? undefined : options.to;
  if (to !== undefined && await isSameFile(path, to)) {
    throw new CliError(`${path} would be overwritten. Name another file with --to.`);
  }
  const { report, conversion } = to === undefined
    ? await convertRows(path, () => Promise.resolve())
    : await written(path, to);
  if (report.errors.length > 0) {
    // stdout may be where the rows go.
    if (options.json) printJson({ report });
    else if (to === "-") { for (const finding of report.errors.slice(0, 5)) note(told(finding)); }
    else printReport(path, report);
    throw new CliError(
      `${path} cannot be converted as it is.${to === undefined ? "" : " Nothing was written."}`,
    );
  }
  if (to === "-") return;
  if (options.json) {
    return printJson({
      source_format: null,
      ignored_fields: [],
      sample: [],
      ...conversion,
      report,
      to: to ?? null,
    });
  }
  if (conversion === null) {
    print(
      `${path} needs no conversion: it is canonical JSONL (${report.format}, ${count(report.rows)} rows).`,
    );
  } else printConversion(conversion);
  if (to !== undefined) print(`${paint.green("written")}  ${to}`);
}

const told = (finding: Finding) =>
  `${finding.line === null ? "the file" : `line ${finding.line}:`} ${sentence(finding)}`;

interface Conversion {
  report: DatasetReport;
  conversion: ConversionSummary | null;
}

/** Reads the file as a stream, and gives its converted rows to `write`: none where it is canonical as it is. */
async function convertRows(
  path: string,
  write: (lines: Uint8Array) => Promise<unknown>,
): Promise<Conversion> {
  const rows: Uint8Array[] = [];
  const table = await isParquet(path) ? "parquet" : undefined;
  const validator = new Validator({ output: (line) => void rows.push(line), ...(table ? { table } : {}) });
  const reading = new Transfer(path, (await stat(path)).size);
  if (table !== undefined) {
    let line = 0;
    for await (const row of parquetRows(path)) {
      validator.record(row, line += 1);
      await flush();
      if (validator.stopped) break;
    }
  } else {
    let read = 0;
    await text(path, createReadStream(path, { highWaterMark: 1 << 20 }), await isGzip(path), (bytes) => {
      reading.at(read += bytes);
    }, async (chunk) => {
      validator.push(chunk);
      await flush();
      return !validator.stopped;
    });
  }
  const report = validator.end();
  await flush();
  reading.end();
  return { report, conversion: validator.conversion };

  async function flush() {
    if (rows.length > 0) await write(Buffer.concat(rows.splice(0)));
  }
}

/** Converts into a file that is there only once it is complete. */
async function written(path: string, to: string): Promise<Conversion> {
  if (to === "-") {
    const found = await convertRows(path, () => Promise.resolve());
    if (found.report.errors.length > 0) return found;
    await rowsOf(
      path,
      found,
      (text) => new Promise<void>((done) => process.stdout.write(text, () => done())),
    );
    return found;
  }
  const partial = `${to}.partial`;
  const output = await open(partial, "w");
  try {
    const found = await convertRows(path, (rows) => output.writeFile(rows));
    if (found.report.errors.length > 0) return found;
    if (found.conversion === null) await rowsOf(path, found, (rows) => output.writeFile(rows));
    await output.close();
    await rename(partial, to);
    return found;
  } finally {
    await output.close();
    await rm(partial, { force: true });
  }
}

/** The canonical rows of a file: of one that needs no conversion its own text. */
async function rowsOf(
  path: string,
  { conversion }: Conversion,
  write: (lines: Uint8Array) => Promise<unknown>,
): Promise<void> {
  if (conversion !== null) return void await convertRows(path, write);
  await text(path, createReadStream(path), await isGzip(path), () => {}, async (chunk) => {
    await write(chunk);
    return true;
  });
}

async function isSameFile(path: string, other: string): Promise<boolean> {
  const [one, two] = await Promise.all([stat(path), stat(other).catch(() => null)]);
  return two !== null && one.dev === two.dev && one.ino === two.ino;
}

/** What was found, and the first rows before and after. */
export function printConversion(
  { source_format, rows, ignored_fields, sample }: Pick<ConversionSummary, keyof ConversionSummary>,
): void {
  printFacts([
    ["detected", source_format],
    ["rows", count(rows)],
    ["ignored", ignored_fields.length === 0 ? null : `the fields ${ignored_fields.join(", ")}`],
  ]);
  for (const { line, before, after } of sample) {
    print(paint.dim(`  line ${line}`));
    print(`    ${paint.dim("before")}  ${before}`);
    print(`    ${paint.dim("after")}   ${after}`);
  }
}
