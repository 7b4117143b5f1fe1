/** `files`: upload, validate, list, show and delete. */
import { createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import process from "node:process";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { unwrap } from "../../client/mod.ts";
import { describeFormat } from "../../supabase/functions/_shared/datasets/convert/format_names.ts";
import { openSession } from "../api/session.ts";
import {
  addCommand,
  addExamples,
  addGroup,
  type Command,
  type CommonOptions,
  InvalidArgumentError,
  parseDuration,
  parseInteger,
} from "../command.ts";
import { printConversion } from "../datasets/conversion_view.ts";
import { validateFile } from "../datasets/local_validation.ts";
import { printReport } from "../datasets/report_view.ts";
import { CliError } from "../errors.ts";
import { formatBytes, formatTime, pluralize } from "../terminal/format.ts";
import { print, printFields, printJson, printNote, printTable } from "../terminal/output.ts";
import { TransferProgress } from "../terminal/transfer_progress.ts";
import { requireFiles } from "../transfers/named_file.ts";
import { withReadableFile } from "../transfers/stdin_file.ts";
import { type File, uploadFile } from "../transfers/upload.ts";
import { addConvert } from "./convert.ts";

export function addFiles(program: Command): void {
  const files = addGroup(program, "files", "Manage training files");
  addExamples(
    addCommand(
      files,
      "upload <path...>",
      "Upload files, or - for stdin; resumes interrupted uploads of large files",
    )
      .option(
        "--expires-after <duration>",
        "time until the server deletes the file, from 1h to 30d",
        parseExpiry,
      )
      .option("--no-wait", "do not wait until the server has validated a large file")
      .action(upload),
    "files upload rows.jsonl",
    "files upload rows.jsonl.gz --expires-after 7d",
    "files upload - < rows.jsonl",
  );
  addExamples(
    addCommand(
      files,
      "validate <path...>",
      "Validate files locally, exactly as the server does; needs no login",
    )
      .action(validate),
    "files validate rows.jsonl.gz",
    "files validate - < rows.jsonl",
  );
  addConvert(files);
  addCommand(files, "list", "List files, newest first")
    .option("--limit <n>", "maximum number of files", parseInteger(1), 20)
    .option("--after <id>", "show files older than this ID")
    .action(list);
  addCommand(files, "get <file>", "Show a file and its validation report")
    .option("-o, --output <path>", "save the file's content to this path, - for stdout")
    .action(get);
  addCommand(files, "delete <file...>", "Delete files").action(remove);
}

const hour = 3600;

function parseExpiry(text: string): number {
  const seconds = parseDuration(text);
  if (seconds < hour || seconds > 30 * 24 * hour) {
    throw new InvalidArgumentError("It must be from 1h to 30d.");
  }
  return seconds;
}

async function upload(
  paths: string[],
  options: CommonOptions & { expiresAfter?: number; wait: boolean },
): Promise<void> {
  const session = await openSession();
  await requireFiles(session, paths, { ids: false });
  for (const path of paths) {
    const { expiresAfter, wait, json } = options;
    const file = await withReadableFile(
      path,
      (local) => uploadFile(session, local, { expiresAfter, wait, quiet: json }),
    );
    if (json) printJson(file, paths.length > 1);
    else print(`${file.id}  ${file.filename}  ${formatBytes(file.bytes)}  ${describeContent(file)}`);
  }
}

const describeContent = ({ report, status, source_format }: File) =>
  report
    ? `${pluralize(report.rows, "row")}, about ${pluralize(report.tokens.total, "token")}${
      source_format === null ? "" : `, converted from ${describeFormat(source_format)}`
    }`
    : status;

async function validate(paths: string[], options: CommonOptions): Promise<void> {
  let invalid = 0;
  for (const path of paths) {
    const progress = new TransferProgress(path, path === "-" ? 0 : (await stat(path)).size);
    const report = await validateFile(path, path === "-" ? undefined : (bytes) => progress.update(bytes));
    progress.end();
    if (report.errors.length > 0) invalid += 1;
    if (options.json) printJson(report, paths.length > 1);
    else printReport(path === "-" ? "stdin" : path, report);
  }
  if (invalid > 0) {
    throw new CliError(
      paths.length === 1
        ? "The file is not a valid training file."
        : `${invalid} of ${paths.length} files are not valid training files.`,
    );
  }
}

async function list(options: CommonOptions & { limit: number; after?: string }): Promise<void> {
  const { api } = await openSession();
  const { limit, after } = options;
  const page = unwrap(await api.GET("/files", { params: { query: { limit, ...(after ? { after } : {}) } } }));
  if (options.json) return printJson(page);
  if (page.data.length === 0) {
    return printNote("No files yet. Upload one with `tunebase files upload rows.jsonl`.");
  }
  printTable([
    ["ID", "NAME", "SIZE", "ROWS", "STATUS", "CREATED"],
    ...page.data.map((file) => [
      file.id,
      file.filename,
      formatBytes(file.bytes),
      file.report ? String(file.report.rows) : "",
      file.status,
      formatTime(file.created_at),
    ]),
  ]);
  if (page.has_more) printNote(`For more, add --after ${page.last_id}`);
}

async function get(id: string, options: CommonOptions & { output?: string }): Promise<void> {
  const session = await openSession();
  const file = unwrap(await session.api.GET("/files/{id}", { params: { path: { id } } }));
  if (options.output !== undefined) {
    const response = await session.fetch(`/files/${encodeURIComponent(id)}/content`);
    if (!response.ok) unwrap({ error: await response.json(), response });
    const toStdout = options.output === "-";
    if (response.body !== null) {
      const content = Readable.fromWeb(response.body);
      if (toStdout) await pipeline(content, process.stdout, { end: false });
      else await pipeline(content, createWriteStream(options.output));
    }
    if (toStdout) return;
    printNote(`Saved to ${options.output}.`);
  }
  if (options.json) return printJson(file);
  printFields([
    ["id", file.id],
    ["name", file.filename],
    ["size", formatBytes(file.bytes)],
    ["purpose", file.purpose],
    ["status", [file.status, file.status_details].filter(Boolean).join(": ")],
    ["sha256", file.sha256],
    ["created", formatTime(file.created_at)],
    ["expires", file.expires_at === null ? null : formatTime(file.expires_at)],
  ]);
  const { source_format, conversion } = file;
  if (source_format !== null && conversion !== null) {
    printConversion({ sample: [], ...conversion, source_format });
  }
  if (file.report !== null) printReport(file.filename, file.report);
}

async function remove(ids: string[], options: CommonOptions): Promise<void> {
  const { api } = await openSession();
  for (const id of ids) {
    const deleted = unwrap(await api.DELETE("/files/{id}", { params: { path: { id } } }));
    if (options.json) printJson(deleted, ids.length > 1);
    else print(`Deleted ${id}.`);
  }
}
