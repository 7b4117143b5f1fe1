/** From a file on this machine to a file of the API: checked here with the API's own code, then sent. */
import { RefusedError, type Schemas, unwrap } from "../../client/mod.ts";
import type { File as ApiFile, Finding } from "./data.ts";
import { headers, use } from "./services.ts";

/** What POST /files takes in one piece. */
const mostInOne = 32 * 2 ** 20;

/** A file that is not to be sent: what is wrong with which rows. */
export class BrokenFileError extends Error {
  constructor(readonly findings: Finding[], readonly errorRows: number) {
    super(`${errorRows === 1 ? "1 row is" : `${errorRows.toLocaleString()} rows are`} not in order.`);
    this.name = "BrokenFileError";
  }
}

export interface Progress {
  doing: "checking" | "sending";
  /** 0 to 1 */
  share: number;
}

/** Checks and sends it; a large one resumes where it was left, even after the page was closed. */
export async function upload(
  file: File,
  tell: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<ApiFile> {
  await checkHere(file, (share) => tell({ doing: "checking", share }), signal);
  const sent = (share: number) => tell({ doing: "sending", share });
  return file.size <= mostInOne ? await sendWhole(file, sent, signal) : await sendDirect(file, sent, signal);
}

/** The same check as the server's, row by row, before a byte is sent. Throws a BrokenFileError. */
async function checkHere(file: File, tell: (share: number) => void, signal: AbortSignal): Promise<void> {
  const { Validator } = await import("../../supabase/functions/_shared/datasets/validator.ts");
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const gzip = first === 0x1f && second === 0x8b;
  if (gzip && file.size > mostInOne) {
    throw new Error(
      `${file.name} is packed (gzip) and larger than 32 MiB. Unpack it first: gunzip ${file.name}`,
    );
  }
  let read = 0;
  const counted = file.stream().pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(chunk, controller) {
        read += chunk.length;
        tell(read / file.size);
        controller.enqueue(chunk);
      },
    }),
  );
  const reader = (gzip ? counted.pipeThrough(new DecompressionStream("gzip")) : counted).getReader();
  const validator = new Validator();
  for (let last = performance.now();;) {
    signal.throwIfAborted();
    const { done, value } = await reader.read();
    if (done) break;
    validator.push(value);
    if (performance.now() - last > 30) { // the page stays alive
      await new Promise((resolve) => setTimeout(resolve));
      last = performance.now();
    }
  }
  const report = validator.end();
  if (report.errors.length > 0) throw new BrokenFileError(report.errors, Math.max(1, report.error_rows));
}

/** XMLHttpRequest, as fetch does not tell how far an upload is. */
async function sendWhole(file: File, tell: (share: number) => void, signal: AbortSignal): Promise<ApiFile> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", file, file.name);
  const sent = await headers();
  return await new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${use().config.apiUrl}/files`);
    for (const [name, value] of Object.entries(sent)) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => tell(total > 0 ? loaded / total : 0);
    request.onload = () => {
      const { status, response } = request;
      if (status === 200) return resolve(response as ApiFile);
      reject(
        response?.error !== undefined
          ? new RefusedError(response as Schemas["Problem"])
          : new Error(`The upload was answered with ${status}. Try again.`),
      );
    };
    request.onerror = () =>
      reject(new Error("The upload broke off. Are you online? Choose the file again to try."));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Straight to Storage, resumably (TUS). Which upload is of which file is kept, for the next time the page is open. */
async function sendDirect(file: File, tell: (share: number) => void, signal: AbortSignal): Promise<ApiFile> {
  const { Upload } = await import("tus-js-client");
  const { api } = use();
  const memory = `tunebase-upload ${file.name} ${file.size} ${file.lastModified}`;
  const begun = await openUpload(localStorage.getItem(memory));
  const direct = begun ?? unwrap(
    await api.POST("/files/direct", {
      body: { filename: file.name, bytes: file.size, purpose: "fine-tune" },
    }),
  );
  localStorage.setItem(memory, direct.id);
  const { target } = direct;
  if (target !== null) {
    await new Promise<void>((resolve, reject) => {
      const sending = new Upload(file, {
        endpoint: target.endpoint,
        headers: { "x-signature": target.token },
        metadata: { bucketName: target.bucket, objectName: target.object, contentType: target.content_type },
        chunkSize: target.chunk_bytes,
        retryDelays: [0, 1000, 3000, 5000, 10_000, 20_000, 30_000],
        fingerprint: () => Promise.resolve(`tunebase ${direct.id}`),
        removeFingerprintOnSuccess: true,
        onProgress: (sent, total) => tell(sent / total),
        onSuccess: () => resolve(),
        onError: (error) =>
          reject(new Error(`The upload broke off: ${error.message}. Choose the file again to go on.`)),
      });
      signal.addEventListener("abort", () => {
        void sending.abort();
        reject(signal.reason);
      });
      void sending.findPreviousUploads().then(([previous]) => {
        if (previous !== undefined) sending.resumeFromPreviousUpload(previous);
        if (!signal.aborted) sending.start();
      });
    });
  }
  const made = unwrap(await api.POST("/files/direct/{id}/complete", { params: { path: { id: direct.id } } }));
  localStorage.removeItem(memory);
  return made;
}

/** The upload that was begun for this file, signed anew; null when there is none that can go on. */
async function openUpload(id: string | null): Promise<Schemas["DirectUpload"] | null> {
  if (id === null) return null;
  const { data } = await use().api.GET("/files/direct/{id}", { params: { path: { id } } });
  return data?.status === "pending" ? data : null;
}
