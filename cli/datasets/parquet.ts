/** Reads Parquet files locally, one row group at a time. */
import { open } from "node:fs/promises";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import * as zlib from "node:zlib";
import {
  asyncBufferFromFile,
  type Compressors,
  parquetMetadataAsync,
  parquetReadObjects,
  toJson,
} from "hyparquet";
import { isObject } from "../../supabase/functions/_shared/datasets/report.ts";
import { CliError } from "../errors.ts";

export async function isParquet(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(4), 0, 4, 0);
    return bytesRead === 4 && new TextDecoder().decode(buffer) === "PAR1";
  } finally {
    await file.close();
  }
}

/** hyparquet itself reads snappy and uncompressed pages. Node has zstd since 22.15. */
const compressors: Compressors = {
  GZIP: (page) => gunzipSync(page),
  BROTLI: (page) => brotliDecompressSync(page),
  ...("zstdDecompressSync" in zlib ? { ZSTD: (page: Uint8Array) => zlib.zstdDecompressSync(page) } : {}),
};

/** Yields the rows in order. Holds a whole row group in memory; the file's writer chose its size. */
export async function* parquetRows(path: string): AsyncGenerator<Record<string, unknown>> {
  try {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    let start = 0;
    for (const { num_rows } of metadata.row_groups) {
      const end = start + Number(num_rows);
      for (
        const row of await parquetReadObjects({ file, metadata, compressors, rowStart: start, rowEnd: end })
      ) {
        const json: unknown = toJson(row);
        if (!isObject(json)) throw new Error(`row ${start} is not an object`);
        yield json;
      }
      start = end;
    }
  } catch (cause) {
    throw new CliError(
      `${path} cannot be read as Parquet: ${cause instanceof Error ? cause.message : cause}`,
      undefined,
      { cause },
    );
  }
}
