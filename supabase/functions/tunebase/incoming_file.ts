/**
 * A file that comes in a request: text, unpacked where it was packed. A small one is held whole and validated in the
 * request; a larger one goes on to Storage as it comes and is validated by the scheduler.
 */
import { gunzip, isGzip } from "./gunzip.ts";
import { join } from "./concat_bytes.ts";
import type { FilePart } from "./multipart.ts";
import { sanitizeFilename } from "./file_upload.ts";

/**
 * The most that is validated in the request. An isolate serves many requests with 256 MB and 2 s of CPU for all of them:
 * validating took about 30 ms of CPU a MiB, and what is held is held about four times while it is stored.
 */
export const maxInRequestBytes = 4 * 2 ** 20;

export type IncomingFile =
  & { filename: string }
  & ({ kind: "whole"; bytes: ReturnType<typeof join> } | { kind: "stored"; object: string; size: number });

/** Stores a stream and returns its object's name. `atLeast`: a number of bytes that it surely has. */
export type Store = (data: ReadableStream<Uint8Array>, atLeast: number) => Promise<string>;

/** `most`: how many bytes it may have once unpacked. `announced`: how many its part surely has, as it was sent. */
export async function receiveFile(
  part: FilePart,
  most: number,
  announced: number,
  store: Store,
): Promise<IncomingFile> {
  const { head, all } = await peek(part.bytes);
  const packed = isGzip(head);
  let filename = sanitizeFilename(part.name);
  // The trainer reads text: what is kept, and what its size and hash are of, is the text.
  if (packed) filename = filename.replace(/\.gz$/i, "") || filename;
  const chunks = packed ? gunzip(all, most) : all;
  const held: Uint8Array[] = [];
  let size = 0;
  while (size <= maxInRequestBytes) {
    const { done, value } = await chunks.next();
    if (done) return { filename, kind: "whole", bytes: join(held) };
    held.push(value);
    size += value.length;
  }
  const rest = new Rest(held, chunks);
  try {
    const object = await store(rest.stream, packed ? size : Math.max(size, announced));
    return { filename, kind: "stored", object, size: rest.size };
  } catch (error) {
    // Storage's client says only that the request failed.
    throw rest.broken ?? error;
  }
}

/** The chunks that are held, each let go as it is taken, and then those that are still to come. */
class Rest {
  size = 0;
  /** Why the bytes broke off. */
  broken: unknown = null;
  readonly stream: ReadableStream<Uint8Array>;

  constructor(held: Uint8Array[], chunks: AsyncGenerator<Uint8Array>) {
    this.stream = new ReadableStream({
      pull: async (controller) => {
        try {
          const { done, value } = held.length > 0 ? { value: held.shift() } : await chunks.next();
          if (done || value === undefined) return controller.close();
          this.size += value.length;
          controller.enqueue(new Uint8Array(value));
        } catch (error) {
          this.broken = error;
          throw error;
        }
      },
      cancel: async () => void await chunks.return(undefined),
    });
  }
}

/** The first two bytes, and then all of them. */
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
  const head = join(first);
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
