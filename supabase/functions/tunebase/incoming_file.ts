/**
 * A file uploaded in a request, decompressed if necessary. A small file is buffered and validated in the request; a larger
 * file is streamed to Storage and validated by the scheduler.
 */
import { gunzip, isGzip } from "./gunzip.ts";
import { concatBytes } from "./concat_bytes.ts";
import type { FilePart } from "./multipart.ts";
import { sanitizeFilename } from "./file_upload.ts";

/**
 * The largest file to validate in the request. All requests of an isolate share 256 MB and 2 s of CPU: validation took about
 * 30 ms of CPU per MiB, and storing a buffered file takes about four times its size in memory.
 */
export const maxInRequestBytes = 4 * 2 ** 20;

export type IncomingFile =
  & { filename: string }
  & ({ kind: "whole"; bytes: ReturnType<typeof concatBytes> } | {
    kind: "stored";
    object: string;
    size: number;
  });

/** Stores a stream and returns its object's name. `minSize`: a lower bound of its size. */
export type Store = (data: ReadableStream<Uint8Array>, minSize: number) => Promise<string>;

/** `max`: the maximum size after decompression. `declared`: a lower bound of the part's size, from content-length. */
export async function receiveFile(
  part: FilePart,
  max: number,
  declared: number,
  store: Store,
): Promise<IncomingFile> {
  const { head, all } = await peek(part.bytes);
  const isCompressed = isGzip(head);
  let filename = sanitizeFilename(part.name);
  // The trainer reads text, so the decompressed file is what is stored, measured and hashed.
  if (isCompressed) filename = filename.replace(/\.gz$/i, "") || filename;
  const chunks = isCompressed ? gunzip(all, max) : all;
  const buffered: Uint8Array[] = [];
  let size = 0;
  while (size <= maxInRequestBytes) {
    const { done, value } = await chunks.next();
    if (done) return { filename, kind: "whole", bytes: concatBytes(buffered) };
    buffered.push(value);
    size += value.length;
  }
  const stream = new CountedStream(buffered, chunks);
  try {
    const object = await store(stream.data, isCompressed ? size : Math.max(size, declared));
    return { filename, kind: "stored", object, size: stream.size };
  } catch (error) {
    // Storage's client reports only that the request failed.
    throw stream.error ?? error;
  }
}

/** A stream of the buffered chunks, each released once read, and the remaining ones. Counts its bytes. */
export class CountedStream {
  size = 0;
  /** Why the stream failed. */
  error: unknown = null;
  readonly data: ReadableStream<Uint8Array>;

  constructor(buffered: Uint8Array[], chunks: AsyncGenerator<Uint8Array>) {
    this.data = new ReadableStream({
      pull: async (controller) => {
        try {
          const { done, value } = buffered.length > 0 ? { value: buffered.shift() } : await chunks.next();
          if (done || value === undefined) return controller.close();
          this.size += value.length;
          controller.enqueue(new Uint8Array(value));
        } catch (error) {
          this.error = error;
          throw error;
        }
      },
      cancel: async () => void await chunks.return(undefined),
    });
  }
}

/** Returns the first two or more bytes, and an iterator over all of them. */
async function peek(bytes: AsyncIterable<Uint8Array>) {
  const chunks = bytes[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let size = 0;
  while (size < 2) {
    const { done, value } = await chunks.next();
    if (done) break;
    first.push(value);
    size += value.length;
  }
  const head = concatBytes(first);
  async function* all(): AsyncGenerator<Uint8Array> {
    try {
      yield head;
      for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
    } finally {
      await chunks.return?.();
    }
  }
  return { head, all: all() };
}
