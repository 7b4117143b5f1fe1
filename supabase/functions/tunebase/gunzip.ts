/** Unpacks a small .jsonl.gz, and no more of it than is allowed: a kilobyte can hold a gigabyte. */
import { ApiError } from "../_shared/errors.ts";

export const isGzip = (bytes: Uint8Array) => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** The bytes inside. Refuses what is damaged (`invalid_file`) or unpacks to more than `most` (`too_large`). */
export async function gunzip(
  packed: Uint8Array<ArrayBuffer>,
  most: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    for await (const chunk of new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))) {
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
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
