/** Uploads a training file: small ones in one request, large ones resumably, straight to Storage. */
import { createReadStream } from "node:fs";
import { mkdtemp, open, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { Upload } from "tus-js-client";
import { RefusedError, type Schemas, unwrap } from "../client/mod.ts";
import { configPath, readIfThere, writePrivate } from "./config.ts";
import { checkFile, isGzip, printReport, text } from "./dataset.ts";
import { CliError, exits } from "./errors.ts";
import { interruptible } from "./interrupt.ts";
import { Bottom, note, Transfer } from "./output.ts";
import { pause, type Session } from "./session.ts";

export type File = Schemas["File"];

/** POST /files takes so much (TUNEBASE_MAX_UPLOAD_BYTES may say less, which the server tells). */
const smallBytes = 32 * 2 ** 20;
/** A signature lives two hours. */
const freshMs = 3_600_000;

export interface UploadOptions {
  /** Seconds after which the server deletes it. */
  expiresAfter?: number;
  /** Whether to wait for the check of a large file. */
  wait?: boolean;
  /** Whether the row errors of a file that is not valid are printed. */
  quiet?: boolean;
}

/** The file on the server. Throws what the API refuses with, or a CliError for a file that is not valid. */
export async function uploadFile(session: Session, path: string, options: UploadOptions = {}): Promise<File> {
  const { size } = await stat(path);
  const packed = await isGzip(path);
  if (size <= smallBytes) {
    try {
      const file = await uploadSmall(session, path, options);
      return options.wait === false ? file : await checked(session, file, options);
    } catch (error) {
      // Over the server's own limit, or what is packed: then it goes the other way.
      if (!(error instanceof RefusedError && error.code === "too_large")) {
        throw error;
      }
    }
  }
  await checkFirst(path, size, options);
  return packed ? await unpacked(session, path, options) : await uploadLarge(session, path, path, options);
}

async function uploadSmall({ api }: Session, path: string, options: UploadOptions): Promise<File> {
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

/** Reads a large file here before hours are spent on sending it. */
async function checkFirst(path: string, size: number, options: UploadOptions): Promise<void> {
  const reading = new Transfer(`checking ${basename(path)}`, size);
  const report = await checkFile(path, (bytes) => reading.at(bytes));
  reading.end();
  if (report.errors.length === 0) return;
  if (!options.quiet) printReport(path, report);
  throw new CliError(`${path} was not uploaded: it cannot be trained on as it is.`);
}

/** The server keeps text: a large gzip file is unpacked into a temporary file, and that is sent. */
async function unpacked(session: Session, path: string, options: UploadOptions): Promise<File> {
  const folder = await mkdtemp(join(tmpdir(), "tunebase-"));
  try {
    const plain = join(folder, basename(path).replace(/\.gz$/i, ""));
    const output = await open(plain, "w");
    try {
      await text(
        path,
        createReadStream(path),
        true,
        () => {},
        async (chunk) => {
          await output.writeFile(chunk);
          return true;
        },
      );
    } finally {
      await output.close();
    }
    return await uploadLarge(session, plain, path, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Uploads that have begun, by {@link fingerprint}; kept beside the settings. */
type Begun = Record<string, { id: string; url: string | null }>;
const begunPath = () => configPath("uploads.json");

async function readBegun(): Promise<Begun> {
  try {
    return JSON.parse(await readIfThere(begunPath()) ?? "{}") as Begun;
  } catch (error) {
    if (error instanceof SyntaxError) return {}; // it only spares time
    throw error;
  }
}

async function remember(key: string, upload: Begun[string] | null): Promise<void> {
  const { [key]: _, ...rest } = await readBegun();
  await writePrivate(begunPath(), JSON.stringify(upload === null ? rest : { ...rest, [key]: upload }));
}

async function fingerprint(session: Session, original: string, bytes: number): Promise<string> {
  const { mtimeMs } = await stat(original);
  return [session.baseUrl, resolve(original), bytes, mtimeMs].join(" ");
}

/** `original`: what the user named, by which a later call finds this upload again. */
async function uploadLarge(
  session: Session,
  path: string,
  original: string,
  options: UploadOptions,
): Promise<File> {
  const { api } = session;
  const { size: bytes } = await stat(path);
  const key = await fingerprint(session, original, bytes);
  const begun = (await readBegun())[key];
  let upload = begun === undefined ? null : await pending(session, begun.id);
  const known = upload !== null && begun ? begun.url : null;
  const expires = options.expiresAfter;
  upload ??= unwrap(
    await api.POST("/files/direct", {
      body: {
        filename: basename(path),
        bytes,
        purpose: "fine-tune",
        ...(expires === undefined ? {} : {
          expires_after: { anchor: "created_at" as const, seconds: expires },
        }),
      },
    }),
  );
  const { id } = upload;
  await remember(key, { id, url: known });
  if (known !== null) {
    note(`Going on with the upload of ${basename(path)} that had begun.`);
  }
  if (upload.status === "pending") {
    await interruptible((signal) =>
      send(session, upload, path, bytes, known, signal, (url) => remember(key, { id, url }))
    );
  }
  const file = unwrap(await api.POST("/files/direct/{id}/complete", { params: { path: { id } } }));
  await remember(key, null);
  return options.wait === false ? file : await checked(session, file, options);
}

/** The upload, if it can be gone on with. */
async function pending({ api }: Session, id: string): Promise<Schemas["DirectUpload"] | null> {
  try {
    const upload = unwrap(await api.GET("/files/direct/{id}", { params: { path: { id } } }));
    return upload.status === "pending" ? upload : null;
  } catch (error) {
    if (error instanceof RefusedError && error.status === 404) return null;
    throw error;
  }
}

/** Sends the bytes with TUS; goes on at `url` if it has begun there. */
async function send(
  { api }: Session,
  { id, target }: Schemas["DirectUpload"],
  path: string,
  bytes: number,
  url: string | null,
  signal: AbortSignal,
  begun: (url: string) => Promise<void>,
): Promise<void> {
  if (target === null) {
    throw new CliError("The server names no place to upload to. Try again.");
  }
  const sending = new Transfer(basename(path), bytes);
  let { token } = target;
  let signedAt = Date.now();
  try {
    await new Promise<void>((resolve, reject) => {
      const upload = new Upload(createReadStream(path), {
        endpoint: target.endpoint,
        uploadUrl: url,
        uploadSize: bytes,
        chunkSize: target.chunk_bytes,
        metadata: { bucketName: target.bucket, objectName: target.object, contentType: target.content_type },
        storeFingerprintForResuming: false,
        retryDelays: [0, 1000, 3000, 5000, 10_000, 20_000],
        async onBeforeRequest(request) {
          if (Date.now() - signedAt > freshMs) {
            const fresh = unwrap(await api.GET("/files/direct/{id}", { params: { path: { id } } }));
            token = fresh.target?.token ?? token;
            signedAt = Date.now();
          }
          request.setHeader("x-signature", token);
        },
        onUploadUrlAvailable() {
          if (upload.url !== null && upload.url !== url) {
            begun(upload.url).catch(reject);
          }
        },
        onProgress: (sent) => sending.at(sent),
        onSuccess: () => resolve(),
        onError: (cause) => reject(brokeOff(cause)),
      });
      signal.addEventListener("abort", () => {
        void upload.abort();
        reject(new CliError("Interrupted. Run the same command to go on from there.", exits.detached));
      });
      upload.start();
    });
  } finally {
    sending.end();
  }
}

function brokeOff(cause: Error): CliError {
  const why = cause.message.split(", originated")[0];
  return new CliError(
    `The upload broke off: ${why}\nRun the same command to go on from there.`,
    exits.failed,
    { cause },
  );
}

/** Waits until the server has checked the file. Throws a CliError where it is not valid. */
export async function checked(session: Session, file: File, options: UploadOptions = {}): Promise<File> {
  const bottom = new Bottom();
  let now = file;
  for (
    let wait = 250;
    now.status === "uploaded";
    wait = Math.min(3000, wait * 1.5)
  ) {
    bottom.show(`the server is checking ${now.filename} …`);
    await pause(wait);
    now = unwrap(await session.api.GET("/files/{id}", { params: { path: { id: file.id } } }));
  }
  bottom.show(null);
  if (now.status === "error") {
    if (now.report !== null && !options.quiet) {
      printReport(now.filename, now.report);
    }
    throw new CliError(
      `${now.filename} (${now.id}) cannot be trained on. ${now.status_details ?? ""}`.trim(),
    );
  }
  return now;
}
