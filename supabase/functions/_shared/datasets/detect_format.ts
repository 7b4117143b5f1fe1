/** What kind of file it is, by its first bytes. */
import type { ProblemCode } from "./report.ts";

export interface DetectedFormat {
  kind: "lines" | "document";
  /** Where the text begins: after a byte order mark. */
  start: number;
  problem: { code: ProblemCode; what: string; fix: string } | null;
}

const unpack = "Unpack it and upload the text inside.";
const magic: [number[], string, string][] = [
  [[0x1f, 0x8b], "is compressed with gzip", "Unpack it; only POST /files unpacks gzip by itself, once."],
  [[0x50, 0x4b, 3, 4], "is a zip archive (an .xlsx is one too)", "Unpack it, or export it as JSONL."],
  [
    [0x50, 0x41, 0x52, 0x31],
    "is a Parquet file",
    "Convert it with `tunebase files convert`, or export JSONL: df.to_json(path, orient='records', lines=True).",
  ],
  [[0x28, 0xb5, 0x2f, 0xfd], "is compressed with zstd", unpack],
  [[0x42, 0x5a, 0x68], "is compressed with bzip2", unpack],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], "is compressed with xz", unpack],
  [[0x25, 0x50, 0x44, 0x46], "is a PDF", "Write its examples as JSONL."],
];

/** `head` holds the first 4096 bytes, or all there are. */
export function detectFormat(head: Uint8Array): DetectedFormat {
  const begins = (bytes: number[]) => bytes.every((byte, i) => head[i] === byte);
  const no = (code: ProblemCode, what: string, fix: string): DetectedFormat => ({
    kind: "lines",
    start: 0,
    problem: { code, what, fix },
  });
  for (const [bytes, what, fix] of magic) if (begins(bytes)) return no("not_text", what, fix);
  // A byte order mark, or the other half of the first character.
  const wide = begins([0xff, 0xfe]) || begins([0xfe, 0xff]) ||
    head.length >= 4 && (head[0] === 0) !== (head[1] === 0) && (head[2] === 0) !== (head[3] === 0);
  if (wide) {
    return no(
      "utf16",
      "is UTF-16",
      'Save it as UTF-8 (in PowerShell: Out-File -Encoding utf8; in Python: encoding="utf-8").',
    );
  }
  const start = begins([0xef, 0xbb, 0xbf]) ? 3 : 0;
  const text = new TextDecoder().decode(head.subarray(start));
  const document = /^\s*\{\s*"(training_file_metadata|conversations)"\s*:/.test(text) && !hasRowPerLine(text);
  return { kind: document ? "document" : "lines", start, problem: null };
}

/** Rows of ShareGPT begin with "conversations" too: those are whole objects on one line each, without training pairs. */
function hasRowPerLine(text: string): boolean {
  return /^\s*\{\s*"conversations"\s*:\s*\[\s*\{\s*"(from|value|role|content)"/.test(text);
}
