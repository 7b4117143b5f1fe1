/** `files convert`: turns a file in another format into canonical JSONL, with the server's own converter. */
import { Buffer } from "node:buffer";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import process from "node:process";
import type { ConversionSummary } from "../../supabase/functions/_shared/datasets/convert/conversion.ts";
import type { DatasetReport } from "../../supabase/functions/_shared/datasets/report.ts";
import { Validator } from "../../supabase/functions/_shared/datasets/validator.ts";
import { addCommand, addExamples, type Command, type CommonOptions } from "../command.ts";
import { printConversion } from "../datasets/conversion_view.ts";
import { isGzip, readText } from "../datasets/local_validation.ts";
import { isParquet, parquetRows } from "../datasets/parquet.ts";
import { describeIssue, printReport } from "../datasets/report_view.ts";
import { CliError } from "../errors.ts";
import { pluralize } from "../terminal/format.ts";
import { print, printJson, printNote, stdoutColors } from "../terminal/output.ts";
import { TransferProgress } from "../terminal/transfer_progress.ts";
import { displayName, withReadableFile } from "../transfers/stdin_file.ts";

const maxIssuesOnStderr = 5;

export function addConvert(files: Command): void {
  addExamples(
    addCommand(
      files,
      "convert <path>",
      "Convert CSV, Parquet, JSON, ShareGPT, Alpaca and other files (- for stdin) to canonical JSONL; needs no login",
    )
      .option("--to <path>", "write the converted rows to this path, - for stdout (default: show a preview)")
      .option("--preview", "show the first rows before and after conversion, and write nothing")
      .action(convert),
    "files convert rows.csv --preview",
    "files convert sharegpt.json --to rows.jsonl",
    "files convert - --to - < rows.csv | tunebase files upload -",
  );
}

interface Options extends CommonOptions {
  to?: string;
  preview?: boolean;
}

interface Result {
  report: DatasetReport;
  /** null: the file is canonical JSONL already. */
  conversion: ConversionSummary | null;
}
type Write = (rows: Uint8Array) => Promise<unknown>;

const convert = (path: string, options: Options): Promise<void> =>
  withReadableFile(path, (local) => convertFile(local, displayName(path), options));

async function convertFile(path: string, name: string, options: Options): Promise<void> {
  const to = options.preview ? undefined : options.to;
  if (to !== undefined && await isSameFile(path, to)) {
    throw new CliError(`--to ${to} would overwrite the input. Choose another path.`);
  }
  const { report, conversion } = to === undefined
    ? await convertRows(path)
    : to === "-"
    ? await convertToStdout(path)
    : await convertToFile(path, to);
  if (report.errors.length > 0) {
    if (options.json) printJson({ report });
    else if (to === "-") {
      // stdout is for the rows.
      for (const issue of report.errors.slice(0, maxIssuesOnStderr)) printNote(describeIssue(issue));
    } else printReport(name, report);
    throw new CliError(`Cannot convert ${name}.${to === undefined ? "" : " Nothing was written."}`);
  }
  if (to === "-") return;
  if (options.json) {
    const none = { source_format: null, ignored_fields: [], sample: [] };
    return printJson({ ...none, ...conversion, report, to: to ?? null });
  }
  if (conversion === null) {
    print(
      `${name} is canonical JSONL (${report.format}, ${pluralize(report.rows, "row")}): nothing to convert.`,
    );
  } else printConversion(conversion);
  if (to !== undefined) print(`${stdoutColors.green("written")}  ${to}`);
}

/** Reads the file as a stream and passes its converted rows to `write`: none when it is canonical already. */
async function convertRows(path: string, write: Write = () => Promise.resolve()): Promise<Result> {
  const rows: Uint8Array[] = [];
  const table = await isParquet(path) ? "parquet" : null;
  const validator = new Validator({ output: (row) => void rows.push(row), table });
  const flush = async () => {
    if (rows.length > 0) await write(Buffer.concat(rows.splice(0)));
  };
  const progress = new TransferProgress(path, (await stat(path)).size);
  if (table === null) {
    let bytesRead = 0;
    await readText({
      path,
      source: createReadStream(path, { highWaterMark: 1 << 20 }),
      gzip: await isGzip(path),
      onRead: (bytes) => progress.update(bytesRead += bytes),
      onChunk: async (chunk) => {
        validator.push(chunk);
        await flush();
        return !validator.stopped;
      },
    });
  } else {
    let number = 0;
    for await (const row of parquetRows(path)) {
      validator.record(row, number += 1);
      await flush();
      if (validator.stopped) break;
    }
  }
  const report = validator.end();
  await flush();
  progress.end();
  return { report, conversion: validator.conversion };
}

/** Checks the whole file before the first row is written. */
async function convertToStdout(path: string): Promise<Result> {
  const result = await convertRows(path);
  if (result.report.errors.length > 0) return result;
  await writeRows(
    path,
    result,
    (rows) => new Promise((resolve) => process.stdout.write(rows, () => resolve(null))),
  );
  return result;
}

/** The output file appears only when it is complete. */
async function convertToFile(path: string, to: string): Promise<Result> {
  const partial = `${to}.partial`;
  const output = await open(partial, "w");
  try {
    const result = await convertRows(path, (rows) => output.writeFile(rows));
    if (result.report.errors.length > 0) return result;
    if (result.conversion === null) await writeRows(path, result, (rows) => output.writeFile(rows));
    await output.close();
    await rename(partial, to);
    return result;
  } finally {
    await output.close();
    await rm(partial, { force: true });
  }
}

/** Writes the canonical rows; a file that needs no conversion is copied, decompressed. */
async function writeRows(path: string, { conversion }: Result, write: Write): Promise<void> {
  if (conversion !== null) return void await convertRows(path, write);
  await readText({
    path,
    source: createReadStream(path),
    gzip: await isGzip(path),
    onChunk: async (chunk) => {
      await write(chunk);
      return true;
    },
  });
}

async function isSameFile(path: string, other: string): Promise<boolean> {
  const [one, two] = await Promise.all([stat(path), stat(other).catch(() => null)]);
  return two !== null && one.dev === two.dev && one.ino === two.ino;
}
