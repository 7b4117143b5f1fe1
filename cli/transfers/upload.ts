/** Uploads a training file: small files in one request, large ones resumably to Storage. */
import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { ApiError, type Schemas, unwrap } from "../../client/mod.ts";
import { type Session, sleep } from "../api/session.ts";
import { isGzip, validateFile } from "../datasets/local_validation.ts";
import { printReport } from "../datasets/report_view.ts";
import { CliError } from "../errors.ts";
import { StatusLine } from "../terminal/status_line.ts";
import { TransferProgress } from "../terminal/transfer_progress.ts";
import { uploadGzip, uploadResumable } from "./resumable_upload.ts";

export type File = Schemas["File"];

/** The default limit of POST /files. A lower TUNEBASE_MAX_UPLOAD_BYTES shows in the server's response. */
const maxSingleRequestBytes = 32 * 2 ** 20;

export interface UploadOptions {
  /** Seconds after which the server deletes the file. */
  expiresAfter?: number;
  /** Whether to wait until the server has validated the file. */
  wait?: boolean;
  /** Whether to omit the row errors of an invalid file. */
  quiet?: boolean;
}

/** Returns the file on the server. Throws the API's error, or a CliError when the file is invalid. */
export async function uploadFile(session: Session, path: string, options: UploadOptions = {}): Promise<File> {
  const { size } = await stat(path);
  if (size <= maxSingleRequestBytes) {
    try {
      const file = await uploadSingleRequest(session, path, options);
      return options.wait === false ? file : await waitUntilValidated(session, file, options);
    } catch (error) {
      // The server's limit is lower, or the file is larger when decompressed: upload it resumably instead.
      if (!(error instanceof ApiError && error.code === "too_large")) {
        throw error;
      }
    }
  }
  await validateBeforeUpload(path, size, options);
  const file = await isGzip(path)
    ? await uploadGzip(session, path, options.expiresAfter)
    : await uploadResumable(session, path, path, options.expiresAfter);
  return options.wait === false ? file : await waitUntilValidated(session, file, options);
}

async function uploadSingleRequest({ api }: Session, path: string, options: UploadOptions): Promise<File> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  if (options.expiresAfter !== undefined) {
    form.set("expires_after[anchor]", "created_at");
    form.set("expires_after[seconds]", String(options.expiresAfter));
  }
  form.set("file", new Blob([new Uint8Array(await readFile(path))]), basename(path));
  const body = { purpose: "fine-tune", file: "" } as const;
  return unwrap(await api.POST("/files", { body, bodySerializer: () => form }));
}

/** Finds errors locally before a long upload. */
async function validateBeforeUpload(path: string, size: number, options: UploadOptions): Promise<void> {
  const progress = new TransferProgress(`validating ${basename(path)}`, size);
  const report = await validateFile(path, (bytes) => progress.update(bytes));
  progress.end();
  if (report.errors.length === 0) return;
  if (!options.quiet) printReport(path, report);
  throw new CliError(`${path} was not uploaded: it has errors. Fix them and try again.`);
}

/** Waits until the server has validated the file. Throws a CliError when it is invalid. */
async function waitUntilValidated(session: Session, file: File, options: UploadOptions): Promise<File> {
  const status = new StatusLine();
  let current = file;
  for (
    let delayMs = 250;
    current.status === "uploaded";
    delayMs = Math.min(3000, delayMs * 1.5)
  ) {
    status.show(`the server is validating ${current.filename} …`);
    await sleep(delayMs);
    current = unwrap(await session.api.GET("/files/{id}", { params: { path: { id: file.id } } }));
  }
  status.show(null);
  if (current.status === "error") {
    if (current.report !== null && !options.quiet) {
      printReport(current.filename, current.report);
    }
    throw new CliError(
      `${current.filename} (${current.id}) is not a valid training file. ${current.status_details ?? ""}`
        .trim(),
    );
  }
  return current;
}
