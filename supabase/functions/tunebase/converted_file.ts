/** Validates a buffered file, and converts its rows if it is in another format. */
import type { ConversionSummary } from "../_shared/datasets/convert/conversion.ts";
import type { DatasetReport } from "../_shared/datasets/report.ts";
import { Validator } from "../_shared/datasets/validator.ts";
import { hex } from "../_shared/secrets.ts";
import { concatBytes } from "./concat_bytes.ts";

/**
 * The maximum size of the converted rows of a buffered file (up to 4 MiB). "a,b" becomes a chat row twenty times as long,
 * and storing a file takes several times its size in memory.
 */
export const maxConvertedBytes = 6 * 2 ** 20;

export interface CheckedFile {
  report: DatasetReport;
  rows: { threshold: number; hashes: number[] };
  /** null: the file is already canonical. */
  converted: { bytes: ReturnType<typeof concatBytes>; summary: ConversionSummary } | null;
  /** The rows exceed {@link maxConvertedBytes}: convert them in the background. */
  tooLarge: boolean;
}

export function checkWhole(bytes: Uint8Array): CheckedFile {
  let chunks: Uint8Array[] = [];
  let size = 0;
  const validator = new Validator({
    output(line) {
      size += line.length;
      if (size <= maxConvertedBytes) chunks.push(line);
      else chunks = [];
    },
  });
  validator.push(bytes);
  const report = validator.end();
  const tooLarge = size > maxConvertedBytes;
  const summary = validator.conversion;
  return {
    report,
    rows: validator.sample(),
    converted: summary === null || tooLarge ? null : { bytes: concatBytes(chunks), summary },
    tooLarge,
  };
}

export async function sha256(bytes: ReturnType<typeof concatBytes>): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}
