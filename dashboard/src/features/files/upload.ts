/** Uploads a local file: validates it in the browser with the API's own code, then sends it. */
import { ApiError, type Schemas, unwrap } from "../../../../client/mod.ts";
import { formatCount } from "../../lib/format.ts";
import { canHash, sha256Hex } from "../../lib/hash.ts";
import { authHeaders, getServices } from "../../lib/services.ts";
import type { ApiFile, DatasetIssue } from "../../lib/types.ts";

/** The limit of POST /files. Larger files are uploaded resumably. */
const maxSingleRequestBytes = 32 * 2 ** 20;
/** How long validation may block the page. */
const yieldIntervalMs = 30;
const retryDelaysMs = [0, 1000, 3000, 5000, 10_000, 20_000, 30_000];

/** The file has errors and was not uploaded. */
export class InvalidFileError extends Error {
  constructor(readonly issues: DatasetIssue[], readonly errorRows: number) {
    super(
      issues.every(({ line }) => line === null)
        ? "It cannot be used as training data."
        : errorRows === 1
        ? "1 row has errors."
        : `${formatCount(errorRows)} rows have errors.`,
    );
    this.name = "InvalidFileError";
  }
}

export interface UploadProgress {
  phase: "validating" | "uploading";
  /** 0 to 1 */
  fraction: number;
}

/** Validates a file, and uploads it unless the project already has it. A large upload resumes where it stopped, even after the page was closed. */
export async function uploadFile(
  file: File,
  onProgress: (progress: UploadProgress) => void,
  signal: AbortSignal,
): Promise<ApiFile> {
  await validateLocally(
    file,
    (fraction) => onProgress({ phase: "validating", fraction }),
    signal,
  );
  const existing = await findIdentical(file);
  if (existing !== null) return existing;
  const onSent = (fraction: number) => onProgress({ phase: "uploading", fraction });
  onSent(0);
  return file.size <= maxSingleRequestBytes
    ? await uploadSingleRequest(file, onSent, signal)
    : await uploadResumable(file, onSent, signal);
}

/** Runs the server's validation. Throws an InvalidFileError. */
async function validateLocally(
  file: File,
  onProgress: (fraction: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { Validator } = await import(
    "../../../../supabase/functions/_shared/datasets/validator.ts"
  );
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const isGzip = first === 0x1f && second === 0x8b;
  if (isGzip && file.size > maxSingleRequestBytes) {
    throw new Error(
      `${file.name} is gzip-compressed and larger than 32 MiB. Decompress it first: gunzip ${file.name}`,
    );
  }
  let bytesRead = 0;
  const observed = file.stream().pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(chunk, controller) {
        bytesRead += chunk.length;
        onProgress(bytesRead / file.size);
        controller.enqueue(chunk);
      },
    }),
  );
  const reader = (isGzip ? observed.pipeThrough(new DecompressionStream("gzip")) : observed)
    .getReader();
  const validator = new Validator();
  for (let yieldedAt = performance.now();;) {
    signal.throwIfAborted();
    const { done, value } = await reader.read();
    if (done) break;
    validator.push(value);
    if (performance.now() - yieldedAt > yieldIntervalMs) {
      await new Promise((resolve) => setTimeout(resolve));
      yieldedAt = performance.now();
    }
  }
  const report = validator.end();
  if (report.errors.length > 0) {
    throw new InvalidFileError(report.errors, Math.max(1, report.error_rows));
  }
}

/** A processed file with the same content. */
async function findIdentical(file: File): Promise<ApiFile | null> {
  if (file.size > maxSingleRequestBytes || !canHash()) return null;
  const { data } = unwrap(
    await getServices().api.GET("/files", { params: { query: { purpose: "fine-tune", limit: 100 } } }),
  );
  const sameSize = data.filter(({ bytes, status }) => bytes === file.size && status === "processed");
  if (sameSize.length === 0) return null;
  const sha256 = await sha256Hex(file);
  return sameSize.find((other) => other.sha256 === sha256) ?? null;
}

/** Uses XMLHttpRequest because fetch has no upload progress. */
async function uploadSingleRequest(
  file: File,
  onProgress: (fraction: number) => void,
  signal: AbortSignal,
): Promise<ApiFile> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", file, file.name);
  const headers = await authHeaders();
  return await new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${getServices().config.apiUrl}/files`);
    for (const [name, value] of Object.entries(headers)) {
      request.setRequestHeader(name, value);
    }
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 0);
    request.onload = () => {
      const { status, response } = request;
      if (status === 200) return resolve(response as ApiFile);
      reject(
        response?.error !== undefined
          ? new ApiError(response as Schemas["Problem"])
          : new Error(`The upload failed (HTTP ${status}). Try again.`),
      );
    };
    request.onerror = () =>
      reject(
        new Error(
          "The upload was interrupted. Check your connection and choose the file again.",
        ),
      );
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Uploads to Storage with TUS. localStorage remembers the unfinished upload of a file. */
async function uploadResumable(
  file: File,
  onProgress: (fraction: number) => void,
  signal: AbortSignal,
): Promise<ApiFile> {
  const { Upload } = await import("tus-js-client");
  const { api } = getServices();
  const storageKey = `tunebase-upload ${file.name} ${file.size} ${file.lastModified}`;
  const pending = await findPendingUpload(localStorage.getItem(storageKey));
  const upload = pending ?? unwrap(
    await api.POST("/files/direct", {
      body: { filename: file.name, bytes: file.size, purpose: "fine-tune" },
    }),
  );
  localStorage.setItem(storageKey, upload.id);
  const { target } = upload;
  if (target !== null) {
    await new Promise<void>((resolve, reject) => {
      const tus = new Upload(file, {
        endpoint: target.endpoint,
        headers: { "x-signature": target.token },
        metadata: {
          bucketName: target.bucket,
          objectName: target.object,
          contentType: target.content_type,
        },
        chunkSize: target.chunk_bytes,
        retryDelays: retryDelaysMs,
        fingerprint: () => Promise.resolve(`tunebase ${upload.id}`),
        removeFingerprintOnSuccess: true,
        onProgress: (sent, total) => onProgress(sent / total),
        onSuccess: () => resolve(),
        onError: (error) =>
          reject(
            new Error(
              `The upload was interrupted: ${error.message}. Choose the file again to resume.`,
            ),
          ),
      });
      signal.addEventListener("abort", () => {
        void tus.abort();
        reject(signal.reason);
      });
      void tus.findPreviousUploads().then(([previous]) => {
        if (previous !== undefined) tus.resumeFromPreviousUpload(previous);
        if (!signal.aborted) tus.start();
      });
    });
  }
  const completed = unwrap(
    await api.POST("/files/direct/{id}/complete", {
      params: { path: { id: upload.id } },
    }),
  );
  localStorage.removeItem(storageKey);
  return completed;
}

/** The unfinished upload with a fresh signature, or null when it cannot be resumed. */
async function findPendingUpload(
  id: string | null,
): Promise<Schemas["DirectUpload"] | null> {
  if (id === null) return null;
  const { data } = await getServices().api.GET("/files/direct/{id}", {
    params: { path: { id } },
  });
  return data?.status === "pending" ? data : null;
}
