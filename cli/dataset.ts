/** Checks a training file on this machine, with the very code of the API: as a stream, in bounded memory. */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import process from "node:process";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { type DatasetReport, type Finding, sentence } from "../supabase/functions/_shared/datasets/report.ts";
import { Validator } from "../supabase/functions/_shared/datasets/validator.ts";
import { CliError } from "./errors.ts";
import { count, paint, print, printFacts, size } from "./output.ts";

/** Does the file begin as gzip does? */
export async function isGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}

/** The report on a file, `-` for stdin; gzip is unpacked. `at` is told how many bytes of the file were read. */
export async function checkFile(
  path: string,
  at: (bytes: number) => void = () => {},
): Promise<DatasetReport> {
  const validator = new Validator();
  let read = 0;
  const raw: Readable = path === "-" ? process.stdin : createReadStream(path, { highWaterMark: 1 << 20 });
  const packed = path !== "-" && await isGzip(path);
  await text(path, raw, packed, (bytes) => at(read += bytes), (chunk) => {
    validator.push(chunk);
    return !validator.stopped;
  });
  return validator.end();
}

/** Passes the text of a source on until `take` says that it is enough. */
export async function text(
  path: string,
  raw: Readable,
  packed: boolean,
  read: (bytes: number) => void,
  take: (chunk: Uint8Array) => boolean | Promise<boolean>,
): Promise<void> {
  const source = async function* () {
    for await (const chunk of raw) {
      read(chunk.length);
      yield chunk;
    }
  };
  const drain = async (chunks: AsyncIterable<Uint8Array>) => {
    for await (const chunk of chunks) if (!await take(chunk)) return;
  };
  if (!packed) return await drain(source());
  try {
    await pipeline(source, createGunzip(), drain);
  } catch (error) {
    if (
      !(error instanceof Error && "code" in error &&
        /^Z_|ERR_/.test(String(error.code)))
    ) throw error;
    if (error.code === "ERR_STREAM_PREMATURE_CLOSE") return; // enough was read
    throw new CliError(
      `${path} is compressed with gzip and cannot be unpacked: it is damaged or was cut off.`,
    );
  }
}

/** What the API's report and ours have in common. */
type Report = Omit<DatasetReport, "errors" | "warnings" | "problems"> & {
  problems: { [code: string]: number | undefined };
  errors?: Described[];
  warnings: Described[];
};
type Described = Omit<Finding, "code"> & { code: string };

/** The report for people. */
export function printReport(name: string, report: Report): void {
  const errors = report.errors ?? [];
  const good = errors.length === 0 && report.error_rows === 0;
  print(`${good ? paint.green("ok") : paint.red("not valid")}  ${name}`);
  const longest = report.longest_row;
  printFacts([
    ["format", report.format],
    [
      "rows",
      `${count(report.rows)}${
        report.error_rows > 0 ? `, ${count(report.error_rows)} cannot be trained on` : ""
      }${
        report.rows_without_labels > 0
          ? `, ${count(report.rows_without_labels)} have nothing to learn from`
          : ""
      }`,
    ],
    [
      "copies",
      report.duplicates.rows > 0
        ? `${report.duplicates.exact ? "" : "about "}${count(report.duplicates.rows)} rows${
          report.duplicates.examples.slice(0, 3).map((one) => `, line ${one.line} of ${one.first_line}`).join(
            "",
          )
        }`
        : null,
    ],
    ["tokens", `about ${count(report.tokens.total)}, of which ${count(report.tokens.learned)} are learned`],
    [
      "longest row",
      longest === null
        ? null
        : `line ${longest.line}, ${size(longest.bytes)}, about ${count(longest.tokens)} tokens`,
    ],
  ]);
  for (const finding of errors) {
    print(`${paint.red("error")}    ${told(finding)}`);
  }
  const more = Object.values(report.problems).reduce<number>((sum, rows) => sum + (rows ?? 0), 0) -
    errors.length - report.warnings.length;
  for (const finding of report.warnings) {
    print(`${paint.yellow("warning")}  ${told(finding)}`);
  }
  if (more > 0) {
    const kinds = Object.entries(report.problems).map(([code, rows]) => `${code} ${count(rows ?? 0)}`);
    print(`… and ${count(more)} more. By kind: ${kinds.join(", ")}.`);
  }
  if (!report.complete) {
    print("After so many broken rows the rest was not read.");
  }
}

const told = (finding: Described): string =>
  `${finding.line === null ? "the file" : `line ${finding.line}:`} ${sentence(finding as Finding)}`;
