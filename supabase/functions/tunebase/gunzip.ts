/** Unpacks a .jsonl.gz as it comes, and no more of it than is allowed: a kilobyte can hold a gigabyte. */
import { ApiError } from "../_shared/errors.ts";

const { pipeline, Readable } = await import("node:stream"); // _shared/on_first_use.ts says why
const { createGunzip } = await import("node:zlib");

export const isGzip = (bytes: Uint8Array) => bytes[0] === 0x1f && bytes[1] === 0x8b;

/**
 * The bytes inside, of every member (`cat a.gz b.gz`, and what bgzip and pigz write; DecompressionStream refuses a second
 * one). Refuses what is damaged (`invalid_file`) or unpacks to more than `most` (`too_large`).
 */
export async function* gunzip(packed: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  const unpacked = pipeline(Readable.from(packed), createGunzip(), () => {}); // its error is thrown below
  try {
    for await (const chunk of unpacked) {
      size += chunk.length;
      if (size > most) break;
      yield chunk;
    }
  } catch (cause) {
    if (cause instanceof ApiError) throw cause;
    throw new ApiError("invalid_file", [{
      param: "file",
      message:
        "file: is compressed with gzip and cannot be unpacked: it is damaged or was cut off. Pack it again.",
    }], { cause });
  }
  if (size > most) {
    throw new ApiError("too_large", [{
      param: "file",
      message:
        `file: unpacks to more than ${
          most / 2 ** 20
        } MiB, the most that POST /files takes. Upload it unpacked, ` +
        "through /uploads or /files/direct.",
    }]);
  }
}
