/** A file that is held whole: its report, and the canonical rows where it came in another format. */
import type { ConversionSummary } from "../_shared/datasets/convert/conversion.ts";
import type { DatasetReport } from "../_shared/datasets/report.ts";
import { Validator } from "../_shared/datasets/validator.ts";
import { hex } from "../_shared/secrets.ts";
import { concatBytes } from "./concat_bytes.ts";

/**
 * The most that a file of 4 MiB may become in its request: "a,b" as a chat row is twenty times as long, and what is held is
 * held several times while it is stored.
 */
export const mostConverted = 6 * 2 ** 20;

export interface CheckedFile {
  report: DatasetReport;
  rows: { threshold: number; hashes: number[] };
  /** null: the bytes are trained on as they are. */
  converted: { bytes: ReturnType<typeof concatBytes>; summary: ConversionSummary } | null;
  /** The rows would be more than {@link mostConverted}: they are left to the background. */
  tooLarge: boolean;
}

export function checkWhole(bytes: Uint8Array): CheckedFile {
  let chunks: Uint8Array[] = [];
  let size = 0;
  const validator = new Validator({
    output(line) {
      size += line.length;
      if (size <= mostConverted) chunks.push(line);
      else chunks = [];
    },
  });
  validator.push(bytes);
  const report = validator.end();
  const tooLarge = size > mostConverted;
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
