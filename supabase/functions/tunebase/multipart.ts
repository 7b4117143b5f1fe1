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
  throw invalidForm(
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

/** How to read a form: the name of its file part, the file's maximum size, and the error for larger ones. */
export interface FormOptions {
  part: string;
  max: number;
  tooLarge: () => ApiError;
}

/**
 * Streams a form, whether or not it has a content-length. The file part goes to `receive`, which must read it to the end or
 * reject: `formData()` would hold the whole body in memory, several times. Settles only after `receive` has settled.
 * Rejects forms that exceed `max` and {@link formEnvelope} together.
 */
export async function readForm<T>(
  request: Request,
  { part: partName, max, tooLarge }: FormOptions,
  receive: (file: FilePart) => Promise<T>,
): Promise<FormWithFile<T>> {
  const form = await openForm(request.headers.get("content-type") ?? "", partName);
  const limit = max + formEnvelope;
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLarge();
  const fields: [name: string, value: unknown][] = [];
  const files: { part: Readable; received: Promise<T> }[] = [];
  const end = Promise.withResolvers<void>();
  form.on("field", (name, value, _, truncated) => {
    if (!isName(name)) return end.reject(badName(name));
    if (truncated) end.reject(invalidForm(name, `${name}: is longer than ${maxFieldBytes} bytes.`));
    fields.push([name, value]);
  });
  form.on("file", (name, part, filename) => {
    part.on("error", () => {}); // its reader and the form get the error too
    if (!isName(name) || !isName(filename)) {
      part.resume();
      return end.reject(badName(isName(name) ? filename : name));
    }
    if (name === partName && files.length === 0) {
      const received = receive({ name: filename, bytes: whole(part) });
      received.catch(end.reject);
      files.push({ part, received });
      return;
    }
    part.resume();
    if (name === partName) {
      end.reject(invalidForm(name, `${name}: must not be repeated. Send one per request.`));
    } else fields.push([name, {}]);
  });
  form.on("partsLimit", () => end.reject(tooManyFields()));
  form.on("error", (cause) => end.reject(notAForm(cause)));
  form.on("finish", end.resolve);
  const body = request.body?.getReader();
  try {
    await Promise.all([end.promise, pump(body, form, { limit, tooLarge }, end.promise)]);
    const file = await files[0]?.received ?? null;
    const read = Object.fromEntries(fields);
    rejectUnstorableText(read);
    return { fields: read, file };
  } catch (error) {
    await body?.cancel(error).catch(() => {}); // it has already failed
    for (const { part, received } of files) {
      part.destroy(error instanceof Error ? error : undefined);
      await received.catch(() => {}); // the same error, or a consequence of it
    }
    throw error;
  }
}

async function openForm(type: string, partName: string): Promise<BusboyInstance> {
  if (formBoundary(type) === null) {
    throw invalidForm(
      null,
      `content-type = ${JSON.stringify(type)}: must be multipart/form-data with the part ${partName}.`,
    );
  }
  // Loaded lazily: it would take a third of the function's boot time.
  const { Busboy } = await import("busboy");
  try {
    return new Busboy({
      headers: { "content-type": type },
      // `sanitizeFilename` handles paths.
      preservePath: true,
      limits: { parts: maxFields, fieldSize: maxFieldBytes },
      // Like browsers and `formData()`: a part with a file name is a file.
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
  { limit, tooLarge }: { limit: number; tooLarge: () => ApiError },
  end: Promise<void>,
): Promise<void> {
  let size = 0;
  for (;;) {
    const { done, value } = await body?.read().catch((cause) => {
      throw notAForm(cause);
    }) ?? { done: true };
    if (done || value === undefined) break;
    size += value.length;
    if (size > limit) throw tooLarge();
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
  return invalidForm(
    null,
    name === undefined
      ? "A part of the form has no name. Set it in content-disposition."
      : `A part of the form has the name ${
        JSON.stringify(name)
      }: NUL characters cannot be stored. Remove it.`,
  );
}

function notAForm(cause: unknown): ApiError {
  return invalidForm(
    null,
    `The body is not a valid multipart form: ${cause instanceof Error ? cause.message : cause}`,
  );
}

function tooManyFields(): ApiError {
  return invalidForm(null, `The form has more than ${maxFields} fields, which is the maximum.`);
}

export function invalidForm(param: string | null, message: string): ApiError {
  return new ApiError("invalid_multipart", [{ param, message }]);
}
