/** Why a line is not JSON, as far as it can be told, and what to do. */
import type { ProblemCode } from "./report.ts";

export function explainJsonError(
  text: string,
  error: unknown,
): { code: ProblemCode; what: string; fix: string } {
  if (text.includes("\0")) {
    return {
      code: "nul",
      what: "holds NUL bytes",
      fix: "The file was damaged, or is UTF-16 in part; write it again as UTF-8.",
    };
  }
  const said = error instanceof Error
    ? error.message.replace(/, ".*/s, "").replace(/, \.\.\..*/s, "")
    : String(error);
  return {
    code: "not_json",
    what: `is not JSON (${said.slice(0, 120).toWellFormed()})`,
    fix: `Each line must hold one JSON object.${hint(text)}`,
  };
}

function hint(text: string): string {
  if (text.startsWith("\ufeff")) {
    return " A byte order mark stands before it: were files joined? Leave it out.";
  }
  if (text === "[" || text === "]") {
    return " The file seems to be one JSON list: write each item on a line of its own.";
  }
  if (text === "{" || text === "}" || /^"[^"]*"\s*:/.test(text)) {
    return " The object seems to go over several lines: write it on one (json.dumps without indent).";
  }
  if (/^\{\s*'/.test(text)) return " Texts stand in double quotes: write rows with json.dumps.";
  if (/\}\s*,?\s*\{\s*"(messages|prompt)"/.test(text)) {
    return " Several objects stand on this line: put each on its own.";
  }
  if (/\b(NaN|Infinity|None|True|False|undefined)\b/.test(text)) {
    return " NaN, Infinity, None, True, False and undefined are not JSON; write null, true or false.";
  }
  if (text.endsWith(",")) return " Leave out the comma at the line's end.";
  return "";
}
