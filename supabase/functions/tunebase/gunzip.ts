/** Streaming gzip decompression with a size limit: a kilobyte can expand to a gigabyte. */
import { ApiError } from "../_shared/errors.ts";

const { pipeline, Readable } = await import("node:stream"); // see _shared/lazy.ts
const { createGunzip } = await import("node:zlib");

export const isGzip = (bytes: Uint8Array) => bytes[0] === 0x1f && bytes[1] === 0x8b;

/**
 * Decompresses all gzip members (`cat a.gz b.gz`, bgzip, pigz; DecompressionStream supports only one). Throws `invalid_file`
 * if the data is damaged, and `too_large` if it expands to more than `max` bytes.
 */
export async function* gunzip(packed: AsyncIterable<Uint8Array>, max: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  const unpacked = pipeline(Readable.from(packed), createGunzip(), () => {}); // its error is thrown below
  try {
    for await (const chunk of unpacked) {
      size += chunk.length;
      if (size > max) break;
      yield chunk;
    }
  } catch (cause) {
    if (cause instanceof ApiError) throw cause;
    throw new ApiError("invalid_file", [{
      param: "file",
      message:
        "file: is compressed with gzip but cannot be decompressed: it is damaged or truncated. Compress it again.",
    }], { cause });
  }
  if (size > max) {
    throw new ApiError("too_large", [{
      param: "file",
      message: `file: decompresses to more than ${max / 2 ** 20} MiB, the maximum for POST /files. ` +
        "Decompress it and upload it through /uploads or /files/direct.",
    }]);
  }
}
