/** Explains why a line is not valid JSON, and how to fix it. */
import type { ProblemCode } from "./report.ts";

export function explainJsonError(
  text: string,
  error: unknown,
): { code: ProblemCode; what: string; fix: string } {
  if (text.includes("\0")) {
    return {
      code: "nul",
      what: "contains NUL bytes",
      fix: "The file is damaged or partly UTF-16. Write it again as UTF-8.",
    };
  }
  const reason = error instanceof Error
    ? error.message.replace(/, ".*/s, "").replace(/, \.\.\..*/s, "")
      // The row is one line: its own number would look like the file's.
      .replace(/ in JSON at position \d+ \(line 1 column (\d+)\)/, " at column $1")
    : String(error);
  return {
    code: "not_json",
    what: `is not valid JSON (${reason.slice(0, 120).toWellFormed()})`,
    fix: `Each line must be one JSON object.${hint(text)}`,
  };
}

function hint(text: string): string {
  if (text.startsWith("\ufeff")) {
    return " The line starts with a byte order mark, possibly because files were concatenated. Remove it.";
  }
  if (text === "[" || text === "]") {
    return " The file seems to be a JSON array: write each item on its own line.";
  }
  if (text === "{" || text === "}" || /^"[^"]*"\s*:/.test(text)) {
    return " The object seems to span several lines: write it on one line (json.dumps without indent).";
  }
  if (/^\{\s*'/.test(text)) return " JSON strings need double quotes: write rows with json.dumps.";
  if (/\}\s*,?\s*\{\s*"(messages|prompt)"/.test(text)) {
    return " There are several objects on this line: put each one on its own line.";
  }
  if (/\b(NaN|Infinity|None|True|False|undefined)\b/.test(text)) {
    return " NaN, Infinity, None, True, False and undefined are not JSON; write null, true or false.";
  }
  if (text.endsWith(",")) return " Remove the comma at the end of the line.";
  return "";
}
