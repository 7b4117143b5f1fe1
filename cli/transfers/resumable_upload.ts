/** Resumable uploads to Storage (TUS). An interrupted upload resumes with the same command. */
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { Upload } from "tus-js-client";
import { ApiError, type Schemas, unwrap } from "../../client/mod.ts";
import type { Session } from "../api/session.ts";
import { configPath, readIfExists, writePrivate } from "../api/settings.ts";
import { readText } from "../datasets/local_validation.ts";
import { CliError, exitCodes } from "../errors.ts";
import { printNote } from "../terminal/output.ts";
import { withAbortOnSigint } from "../terminal/sigint.ts";
import { TransferProgress } from "../terminal/transfer_progress.ts";

type File = Schemas["File"];

/** Signatures are valid for two hours; they are renewed after one. */
const renewSignatureMs = 3_600_000;
const retryDelaysMs = [0, 1000, 3000, 5000, 10_000, 20_000];

/** The server stores plain text: a large gzip file is decompressed to a temporary file first. */
export async function uploadGzip(session: Session, path: string, expiresAfter?: number): Promise<File> {
  const folder = await mkdtemp(join(tmpdir(), "tunebase-"));
  try {
    const plain = join(folder, basename(path).replace(/\.gz$/i, ""));
    const output = await open(plain, "w");
    try {
      await readText({
        path,
        source: createReadStream(path),
        gzip: true,
        onChunk: async (chunk) => {
          await output.writeFile(chunk);
          return true;
        },
      });
    } finally {
      await output.close();
    }
    return await uploadResumable(session, plain, path, expiresAfter);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Uploads `path`. `original` is the file the user named; a later call finds the unfinished upload by it. */
export async function uploadResumable(
  session: Session,
  path: string,
  original: string,
  expiresAfter?: number,
): Promise<File> {
  const { api } = session;
  const { size: bytes } = await stat(path);
  const key = await fingerprint(session, original, bytes);
  const saved = (await readSavedUploads())[key];
  let upload = saved === undefined ? null : await findPending(session, saved.id);
  const resumeUrl = upload !== null && saved ? saved.url : null;
  upload ??= unwrap(
    await api.POST("/files/direct", {
      body: {
        filename: basename(path),
        bytes,
        purpose: "fine-tune",
        ...(expiresAfter === undefined ? {} : {
          expires_after: { anchor: "created_at" as const, seconds: expiresAfter },
        }),
      },
    }),
  );
  const { id } = upload;
  await saveUpload(key, { id, url: resumeUrl });
  if (resumeUrl !== null) printNote(`Resuming the upload of ${basename(path)}.`);
  if (upload.status === "pending") {
    await withAbortOnSigint((signal) =>
      sendChunks(session, upload, path, bytes, resumeUrl, signal, (url) => saveUpload(key, { id, url }))
    );
  }
  const file = unwrap(await api.POST("/files/direct/{id}/complete", { params: { path: { id } } }));
  await saveUpload(key, null);
  return file;
}

/** Unfinished uploads by {@link fingerprint}, stored next to the settings. */
type SavedUploads = Record<string, { id: string; url: string | null }>;
const savedUploadsPath = () => configPath("uploads.json");

async function readSavedUploads(): Promise<SavedUploads> {
  try {
    return JSON.parse(await readIfExists(savedUploadsPath()) ?? "{}") as SavedUploads;
  } catch (error) {
    if (error instanceof SyntaxError) return {}; // only costs a new upload
    throw error;
  }
}

async function saveUpload(key: string, upload: SavedUploads[string] | null): Promise<void> {
  const { [key]: _, ...others } = await readSavedUploads();
  await writePrivate(
    savedUploadsPath(),
    JSON.stringify(upload === null ? others : { ...others, [key]: upload }),
  );
}

async function fingerprint(session: Session, original: string, bytes: number): Promise<string> {
  const { mtimeMs } = await stat(original);
  return [session.baseUrl, resolve(original), bytes, mtimeMs].join(" ");
}

/** The upload, if it can still be resumed. */
async function findPending({ api }: Session, id: string): Promise<Schemas["DirectUpload"] | null> {
  try {
    const upload = unwrap(await api.GET("/files/direct/{id}", { params: { path: { id } } }));
    return upload.status === "pending" ? upload : null;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

/** Sends the bytes; resumes at `resumeUrl` if there is one. */
async function sendChunks(
  { api }: Session,
  { id, target }: Schemas["DirectUpload"],
  path: string,
  bytes: number,
  resumeUrl: string | null,
  signal: AbortSignal,
  onUrl: (url: string) => Promise<void>,
): Promise<void> {
  if (target === null) {
    throw new CliError("The server did not return an upload URL. Try again.");
  }
  const progress = new TransferProgress(basename(path), bytes);
  let { token } = target;
  let signedAt = Date.now();
  try {
    await new Promise<void>((resolve, reject) => {
      const upload = new Upload(createReadStream(path), {
        endpoint: target.endpoint,
        uploadUrl: resumeUrl,
        uploadSize: bytes,
        chunkSize: target.chunk_bytes,
        metadata: { bucketName: target.bucket, objectName: target.object, contentType: target.content_type },
        storeFingerprintForResuming: false,
        retryDelays: retryDelaysMs,
        async onBeforeRequest(request) {
          if (Date.now() - signedAt > renewSignatureMs) {
            const renewed = unwrap(await api.GET("/files/direct/{id}", { params: { path: { id } } }));
            token = renewed.target?.token ?? token;
            signedAt = Date.now();
          }
          request.setHeader("x-signature", token);
        },
        onUploadUrlAvailable() {
          if (upload.url !== null && upload.url !== resumeUrl) {
            onUrl(upload.url).catch(reject);
          }
        },
        onProgress: (sent) => progress.update(sent),
        onSuccess: () => resolve(),
        onError: (cause) => reject(toUploadError(cause)),
      });
      signal.addEventListener("abort", () => {
        void upload.abort();
        reject(
          new CliError(
            "Interrupted. Run the same command again to resume the upload.",
            exitCodes.interrupted,
          ),
        );
      });
      upload.start();
    });
  } finally {
    progress.end();
  }
}

function toUploadError(cause: Error): CliError {
  const reason = cause.message.split(", originated")[0];
  return new CliError(
    `The upload was interrupted: ${reason}\nRun the same command again to resume it.`,
    exitCodes.failed,
    { cause },
  );
}
