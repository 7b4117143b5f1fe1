/** Unpacks a small .jsonl.gz, and no more of it than is allowed: a kilobyte can hold a gigabyte. */
import { createGunzip } from "node:zlib";
import { ApiError } from "../_shared/errors.ts";
import { join } from "./join.ts";

export const isGzip = (bytes: Uint8Array) => bytes[0] === 0x1f && bytes[1] === 0x8b;

/**
 * The bytes inside, of every member (`cat a.gz b.gz`, and what bgzip and pigz write; DecompressionStream refuses a second
 * one). Refuses what is damaged (`invalid_file`) or unpacks to more than `most` (`too_large`).
 */
export async function gunzip(packed: Uint8Array, most: number) {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const unpacked = createGunzip();
  unpacked.end(packed);
  try {
    for await (const chunk of unpacked) {
      size += chunk.length;
      if (size > most) break;
      chunks.push(chunk);
    }
  } catch (cause) {
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
  return join(chunks);
}
