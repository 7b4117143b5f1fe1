/** Detects the kind of file by its first bytes. */
import type { ProblemCode } from "./report.ts";

export interface DetectedFormat {
  kind: "lines" | "document";
  /** The offset of the text, after a byte order mark. */
  start: number;
  problem: { code: ProblemCode; what: string; fix: string } | null;
}

const unpack = "Decompress it before uploading.";
const magic: [number[], string, string][] = [
  [
    [0x1f, 0x8b],
    "is compressed with gzip",
    "Decompress it before uploading; only POST /files decompresses gzip, and only once.",
  ],
  [
    [0x50, 0x4b, 3, 4],
    "is a ZIP archive or an Office document",
    "Decompress it, or export it as CSV or JSONL.",
  ],
  [
    [0x50, 0x41, 0x52, 0x31],
    "is a Parquet file",
    "Convert it with `tunebase files convert`, or export JSONL: df.to_json(path, orient='records', lines=True).",
  ],
  [[0x28, 0xb5, 0x2f, 0xfd], "is compressed with zstd", unpack],
  [[0x42, 0x5a, 0x68], "is compressed with bzip2", unpack],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], "is compressed with xz", unpack],
  [[0x25, 0x50, 0x44, 0x46], "is a PDF", "Convert its examples to JSONL."],
];

/** `head`: the first 4096 bytes, or the whole file if it is shorter. */
export function detectFormat(head: Uint8Array): DetectedFormat {
  const startsWith = (bytes: number[]) => bytes.every((byte, i) => head[i] === byte);
  const invalid = (code: ProblemCode, what: string, fix: string): DetectedFormat => ({
    kind: "lines",
    start: 0,
    problem: { code, what, fix },
  });
  for (const [bytes, what, fix] of magic) if (startsWith(bytes)) return invalid("not_text", what, fix);
  // A byte order mark, or NULs in every other byte.
  const wide = startsWith([0xff, 0xfe]) || startsWith([0xfe, 0xff]) ||
    head.length >= 4 && (head[0] === 0) !== (head[1] === 0) && (head[2] === 0) !== (head[3] === 0);
  if (wide) {
    return invalid(
      "utf16",
      "is UTF-16",
      'Save it as UTF-8 (in PowerShell: Out-File -Encoding utf8; in Python: encoding="utf-8").',
    );
  }
  const start = startsWith([0xef, 0xbb, 0xbf]) ? 3 : 0;
  const text = new TextDecoder().decode(head.subarray(start));
  const document = /^\s*\{\s*"(training_file_metadata|conversations)"\s*:/.test(text) && !hasRowPerLine(text);
  return { kind: document ? "document" : "lines", start, problem: null };
}

/** ShareGPT rows start with "conversations" too, but are one complete object per line, without training pairs. */
function hasRowPerLine(text: string): boolean {
  return /^\s*\{\s*"conversations"\s*:\s*\[\s*\{\s*"(from|value|role|content)"/.test(text);
}
