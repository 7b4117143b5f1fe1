/** `files`: upload, check, list, show, delete. */
import { createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { unwrap } from "../client/mod.ts";
import { addCommand, addGroup, type Command, type Common, examples, seconds, whole } from "./command.ts";
import { addConvert, printConversion } from "./convert.ts";
import { checkFile, printReport } from "./dataset.ts";
import { CliError } from "./errors.ts";
import { count, note, print, printFacts, printJson, printTable, size, Transfer, when } from "./output.ts";
import { openSession } from "./session.ts";
import { type File, uploadFile } from "./upload.ts";

export function addFiles(program: Command): void {
  const files = addGroup(program, "files", "Training files");
  examples(
    addCommand(files, "upload <path...>", "Upload files; large ones go on where they broke off")
      .option("--expires-after <time>", "delete it on the server after 1h … 30d", seconds)
      .option("--no-wait", "do not wait until a large file has been checked")
      .action(upload),
    "files upload rows.jsonl",
    "files upload rows.jsonl.gz --expires-after 7d",
  );
  examples(
    addCommand(
      files,
      "validate <path...>",
      "Check files on this machine, as the server would; no login needed",
    )
      .action(validate),
    "files validate rows.jsonl.gz",
    "files validate - < rows.jsonl",
  );
  addConvert(files);
  addCommand(files, "list", "List files, the newest first")
    .option("--limit <n>", "how many", whole(1), 20)
    .option("--after <id>", "those after this one")
    .action(list);
  addCommand(files, "get <file>", "Show a file and what its check found")
    .option("-o, --output <path>", "save its content there")
    .action(get);
  addCommand(files, "delete <file...>", "Delete files").action(remove);
}

async function upload(
  paths: string[],
  options: Common & { expiresAfter?: number; wait: boolean },
): Promise<void> {
  const session = await openSession();
  for (const path of paths) {
    const { expiresAfter, wait, json } = options;
    const file = await uploadFile(session, path, { expiresAfter, wait, quiet: json });
    if (json) printJson(file, paths.length > 1);
    else print(`${file.id}  ${file.filename}  ${size(file.bytes)}${rowsOf(file)}`);
  }
}

const rowsOf = ({ report, status, source_format }: File) =>
  report
    ? `  ${count(report.rows)} rows, about ${count(report.tokens.total)} tokens${
      source_format === null ? "" : `, converted from ${source_format}`
    }`
    : `  ${status}`;

async function validate(paths: string[], options: Common): Promise<void> {
  let broken = 0;
  for (const path of paths) {
    const reading = new Transfer(path, path === "-" ? 0 : (await stat(path)).size);
    const report = await checkFile(path, path === "-" ? undefined : (bytes) => reading.at(bytes));
    reading.end();
    if (report.errors.length > 0) broken += 1;
    if (options.json) printJson(report, paths.length > 1);
    else printReport(path === "-" ? "stdin" : path, report);
  }
  if (broken > 0) {
    throw new CliError(
      paths.length === 1
        ? "The file cannot be trained on as it is."
        : `${broken} of ${paths.length} files cannot be trained on as they are.`,
    );
  }
}

async function list(options: Common & { limit: number; after?: string }): Promise<void> {
  const { api } = await openSession();
  const { limit, after } = options;
  const page = unwrap(await api.GET("/files", { params: { query: { limit, ...(after ? { after } : {}) } } }));
  if (options.json) return printJson(page);
  if (page.data.length === 0) {
    return note("No files yet. `tunebase files upload rows.jsonl` adds one.");
  }
  printTable([
    ["ID", "NAME", "SIZE", "ROWS", "STATUS", "CREATED"],
    ...page.data.map((file) => [
      file.id,
      file.filename,
      size(file.bytes),
      file.report ? String(file.report.rows) : "",
      file.status,
      when(file.created_at),
    ]),
  ]);
  if (page.has_more) note(`More: --after ${page.last_id}`);
}

async function get(id: string, options: Common & { output?: string }): Promise<void> {
  const session = await openSession();
  const file = unwrap(await session.api.GET("/files/{id}", { params: { path: { id } } }));
  if (options.output !== undefined) {
    const response = await session.fetch(`/files/${encodeURIComponent(id)}/content`);
    if (!response.ok) unwrap({ error: await response.json(), response });
    if (response.body !== null) {
      await pipeline(Readable.fromWeb(response.body), createWriteStream(options.output));
    }
    note(`Saved as ${options.output}.`);
  }
  if (options.json) return printJson(file);
  printFacts([
    ["id", file.id],
    ["name", file.filename],
    ["size", size(file.bytes)],
    ["purpose", file.purpose],
    ["status", [file.status, file.status_details].filter(Boolean).join(": ")],
    ["sha256", file.sha256],
    ["created", when(file.created_at)],
    ["expires", file.expires_at === null ? null : when(file.expires_at)],
  ]);
  const { source_format, conversion } = file;
  if (source_format !== null && conversion !== null) {
    printConversion({ sample: [], ...conversion, source_format });
  }
  if (file.report !== null) printReport(file.filename, file.report);
}

async function remove(ids: string[], options: Common): Promise<void> {
  const { api } = await openSession();
  for (const id of ids) {
    const deleted = unwrap(await api.DELETE("/files/{id}", { params: { path: { id } } }));
    if (options.json) printJson(deleted, ids.length > 1);
    else print(`Deleted ${id}.`);
  }
}
