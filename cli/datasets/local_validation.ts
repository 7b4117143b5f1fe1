/** Validates a training file locally with the API's own code, as a stream in bounded memory. */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import process from "node:process";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import type { DatasetReport } from "../../supabase/functions/_shared/datasets/report.ts";
import { Validator } from "../../supabase/functions/_shared/datasets/validator.ts";
import { CliError } from "../errors.ts";

/** Whether the file starts with gzip's magic number. */
export async function isGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}

/**
 * The report on a file; `-` is stdin. Decompresses gzip. `onProgress` gets the number of bytes of the file that were
 * read so far.
 */
export async function validateFile(
  path: string,
  onProgress: (bytes: number) => void = () => {},
): Promise<DatasetReport> {
  const validator = new Validator();
  let bytesRead = 0;
  const source: Readable = path === "-" ? process.stdin : createReadStream(path, { highWaterMark: 1 << 20 });
  await readText({
    path,
    source,
    gzip: path !== "-" && await isGzip(path),
    onRead: (bytes) => onProgress(bytesRead += bytes),
    onChunk: (chunk) => {
      validator.push(chunk);
      return !validator.stopped;
    },
  });
  return validator.end();
}

/** Passes the decompressed bytes of a source to `onChunk` until it returns false. */
export async function readText({ path, source, gzip, onRead = () => {}, onChunk }: {
  path: string;
  source: Readable;
  gzip: boolean;
  /** Gets the length of each chunk before decompression. */
  onRead?: (bytes: number) => void;
  onChunk: (chunk: Uint8Array) => boolean | Promise<boolean>;
}): Promise<void> {
  const chunks = async function* () {
    for await (const chunk of source) {
      onRead(chunk.length);
      yield chunk;
    }
  };
  const drain = async (chunks: AsyncIterable<Uint8Array>) => {
    for await (const chunk of chunks) if (!await onChunk(chunk)) return;
  };
  if (!gzip) return await drain(chunks());
  try {
    await pipeline(chunks, createGunzip(), drain);
  } catch (error) {
    if (
      !(error instanceof Error && "code" in error &&
        /^Z_|ERR_/.test(String(error.code)))
    ) throw error;
    // `drain` returned early: it has read enough.
    if (error.code === "ERR_STREAM_PREMATURE_CLOSE") return;
    throw new CliError(`Cannot decompress ${path}: the gzip data is damaged or truncated.`);
  }
}
