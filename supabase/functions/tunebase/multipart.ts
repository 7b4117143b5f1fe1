/** Streaming multipart forms with limits. */
import type { Readable } from "node:stream";
import type { BusboyInstance } from "busboy";
import { ApiError } from "../_shared/errors.ts";
import { rejectUnstorableText } from "../_shared/text.ts";

/** How much the form may add to the size of its file. */
export const formEnvelope = 65_536;
/** Parsing 500,000 fields took 7.7 s and produced a response of 75 MB. No form has more than ten. */
const maxFields = 64;
/** All fields are short. */
const maxFieldBytes = 65_536;
/**
 * A boundary of one character matches everywhere in a file, which took 9.3 s for 32 MB. RFC 2046 allows 70 characters;
 * clients use at least 16.
 */
const minBoundaryLength = 8;

/** The boundary in a content type; null if it is not a multipart form. Throws if its length is out of range. */
export function formBoundary(contentType: string): string | null {
  if (!/^multipart\/form-data\b/i.test(contentType)) return null;
  const match = /\bboundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2] ?? "";
  if (boundary.length >= minBoundaryLength && boundary.length <= 70) return boundary;
  throw invalid(
    "content-type",
    `content-type: the boundary has ${boundary.length} characters; it must have ${minBoundaryLength} to 70. ` +
      "Let your HTTP client generate it.",
  );
}

/** Counts a form's boundaries. Throws if there are more than the maximum number of fields allows. */
export class BoundaryCount {
  #count = 0;
  add(): void {
    // One before each field, and a final one.
    if (++this.#count > maxFields + 1) throw tooManyFields();
  }
}

/** The file of a form: its name as sent, and its bytes as a stream. */
export interface FilePart {
  name: string;
  bytes: AsyncIterable<Uint8Array>;
}

/** A form's other fields, and what `receive` returned for its file; null if it has none. */
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

/** Pipes the body to the form, with backpressure. Stops if the form fails. */
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

/** A part's bytes. Throws an ApiError if the form breaks off. */
async function* whole(part: Readable): AsyncGenerator<Uint8Array> {
  try {
    yield* part;
  } catch (cause) {
    throw cause instanceof ApiError ? cause : notAForm(cause);
  }
}

/** Despite its type, a part's name can be undefined. */
const isName = (name: string | undefined) => name !== undefined && !name.includes("\0");

function badName(name: string | undefined): ApiError {
  return invalid(
    null,
    name === undefined
      ? "A part of the form has no name. Set it in content-disposition."
      : `A part of the form has the name ${
        JSON.stringify(name)
      }: NUL characters cannot be stored. Remove it.`,
  );
}

function notAForm(cause: unknown): ApiError {
  return invalid(
    null,
    `The body is not a valid multipart form: ${cause instanceof Error ? cause.message : cause}`,
  );
}

function tooManyFields(): ApiError {
  return invalid(null, `The form has more than ${maxFields} fields, which is the maximum.`);
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
