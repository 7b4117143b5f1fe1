/** Multipart forms, read within bounds and as they come. */
import type { Readable } from "node:stream";
import type { BusboyInstance } from "busboy";
import { ApiError } from "../_shared/errors.ts";
import { rejectUnstorableText } from "../_shared/text.ts";

/** The form's own lines come on top of the file. */
export const formEnvelope = 65_536;
/** Parsing 500,000 fields took 7.7 s and answered with 75 MB; no form here has ten. */
const maxFields = 64;
/** No field of a form here has more than a few words. */
const maxFieldBytes = 65_536;
/**
 * A boundary of one character stands everywhere in a file, and each place costs a step: 9.3 s for 32 MB. RFC 2046 allows 70;
 * what clients write has 16 and more.
 */
const minBoundaryLength = 8;

/** The boundary in a content type; null when it is no multipart form. Refuses a boundary that is short or too long. */
export function formBoundary(contentType: string): string | null {
  if (!/^multipart\/form-data\b/i.test(contentType)) return null;
  const match = /\bboundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2] ?? "";
  if (boundary.length >= minBoundaryLength && boundary.length <= 70) return boundary;
  throw invalid(
    "content-type",
    `content-type: its boundary has ${boundary.length} characters; it must have ${minBoundaryLength} to 70. Let your HTTP ` +
      "client make it.",
  );
}

/** Counts the boundaries of a form as its bytes pass; refuses when there are more than a form of 64 fields has. */
export class BoundaryCount {
  #count = 0;
  add(): void {
    // One before each field, and one at the end.
    if (++this.#count > maxFields + 1) throw tooManyFields();
  }
}

/** The part `file` of a form: its name as it was sent, and its bytes as they come. */
export interface FilePart {
  name: string;
  bytes: AsyncIterable<Uint8Array>;
}

/** A form's other fields, and what became of its file; null when it has none. */
export interface FormWithFile<T> {
  fields: Record<string, unknown>;
  file: T | null;
}

/**
 * Reads a form as it comes, and no more than `most` bytes of its file, whether or not a length was announced. The part
 * `file` goes to `receive`, which must read it to its end or reject: `formData()` would hold the body whole, several
 * times. Settles only once `receive` has.
 */
export async function readForm<T>(
  request: Request,
  most: number,
  receive: (file: FilePart) => Promise<T>,
): Promise<FormWithFile<T>> {
  const form = await openForm(request.headers.get("content-type") ?? "");
  if (Number(request.headers.get("content-length") ?? 0) > most + formEnvelope) throw tooLarge(most);
  const fields: [name: string, value: unknown][] = [];
  const files: { part: Readable; received: Promise<T> }[] = [];
  const end = Promise.withResolvers<void>();
  form.on("field", (name, value, _, truncated) => {
    if (!isName(name)) return end.reject(badName(name));
    if (truncated) end.reject(invalid(name, `${name}: is longer than ${maxFieldBytes} bytes.`));
    fields.push([name, value]);
  });
  form.on("file", (name, part, filename) => {
    part.on("error", () => {}); // whoever reads it is told, and so is the form
    if (!isName(name) || !isName(filename)) {
      part.resume();
      return end.reject(badName(isName(name) ? filename : name));
    }
    if (name === "file" && files.length === 0) {
      const received = receive({ name: filename, bytes: whole(part) });
      received.catch(end.reject);
      files.push({ part, received });
      return;
    }
    part.resume();
    if (name === "file") end.reject(invalid(name, "file: is there more than once. Send one file a request."));
    else fields.push([name, {}]);
  });
  form.on("partsLimit", () => end.reject(tooManyFields()));
  form.on("error", (cause) => end.reject(notAForm(cause)));
  form.on("finish", end.resolve);
  const body = request.body?.getReader();
  try {
    await Promise.all([end.promise, pump(body, form, most, end.promise)]);
    const file = await files[0]?.received ?? null;
    const read = Object.fromEntries(fields);
    rejectUnstorableText(read);
    return { fields: read, file };
  } catch (error) {
    await body?.cancel(error).catch(() => {}); // it broke off by itself
    for (const { part, received } of files) {
      part.destroy(error instanceof Error ? error : undefined);
      await received.catch(() => {}); // its error is this one, or follows from it
    }
    throw error;
  }
}

async function openForm(type: string): Promise<BusboyInstance> {
  if (formBoundary(type) === null) {
    throw invalid(
      null,
      `content-type = ${JSON.stringify(type)}: must be multipart/form-data with the parts file and purpose.`,
    );
  }
  // Loaded on first use: it would take a third of the time in which the function starts.
  const { Busboy } = await import("busboy");
  try {
    return new Busboy({
      headers: { "content-type": type },
      // `sanitizeFilename` takes the last part; what is only dots stays as it was sent.
      preservePath: true,
      limits: { parts: maxFields, fieldSize: maxFieldBytes },
      // As browsers and `formData()` have it: what has a file name is a file.
      isPartAFile: (_field, _type, filename) => filename !== undefined,
    });
  } catch (cause) {
    throw notAForm(cause);
  }
}

/** Writes the body to the form as fast as the form takes it. Stops when the form has failed. */
async function pump(
  body: ReadableStreamDefaultReader<Uint8Array> | undefined,
  form: BusboyInstance,
  most: number,
  end: Promise<void>,
): Promise<void> {
  let size = 0;
  for (;;) {
    const { done, value } = await body?.read() ?? { done: true };
    if (done || value === undefined) break;
    size += value.length;
    if (size > most + formEnvelope) throw tooLarge(most);
    if (form.write(value)) continue;
    await Promise.race([new Promise<void>((resolve) => form.once("drain", resolve)), end]);
  }
  form.end();
}

/** A part's bytes; says so when they break off. */
async function* whole(part: Readable): AsyncGenerator<Uint8Array> {
  try {
    yield* part;
  } catch (cause) {
    throw cause instanceof ApiError ? cause : notAForm(cause);
  }
}

/** A part may have no name, whatever the types say. */
const isName = (name: string | undefined) => name !== undefined && !name.includes("\0");

function badName(name: string | undefined): ApiError {
  return invalid(
    null,
    name === undefined
      ? "A part of the form has no name. Name each part in its content-disposition."
      : `A part of the form has the name ${
        JSON.stringify(name)
      }: a NUL character cannot be stored. Leave it out.`,
  );
}

function notAForm(cause: unknown): ApiError {
  return invalid(null, `The body is not a multipart form: ${cause instanceof Error ? cause.message : cause}`);
}

function tooManyFields(): ApiError {
  return invalid(null, `The form has more than ${maxFields} fields, the most that a form may have.`);
}

function tooLarge(most: number): ApiError {
  return new ApiError("too_large", [{
    param: "file",
    message: `file: is larger than ${most / 2 ** 20} MiB, the most that POST /files takes. Larger files go ` +
      "through /uploads (the SDKs' uploads.create, upload_file_chunked) or /files/direct.",
  }]);
}

function invalid(param: string | null, message: string): ApiError {
  return new ApiError("invalid_multipart", [{ param, message }]);
}
