/**
 * Text that Postgres can store. It rejects two things that JSON and percent-encoding can carry: NUL, and a lone surrogate
 * (`\ud83d`, half of an emoji). Requests of clients that contain them are rejected; reports of workers and RunPod are
 * sanitized, because a log line must not stop a training run.
 */
import { ApiError, type Problem } from "./errors.ts";

const nul = "\0";

/** Why a text cannot be stored, or null. */
function problemWith(text: string): string | null {
  if (text.includes(nul)) return "contains a NUL character (\\u0000), which cannot be stored. Remove it.";
  return text.isWellFormed()
    ? null
    : "contains a lone surrogate (such as \\ud83d, half of a character). Split text only between characters.";
}

/** Throws if a key or value in parsed JSON cannot be stored. `root` is the value's own name. */
export function rejectUnstorableText(value: unknown, root = ""): void {
  const problems: Problem[] = [];
  const check = (path: string, text: string) => {
    const problem = problemWith(text);
    if (problem === null) return;
    const param = clean(path) || null;
    problems.push({ param, message: `${param ?? "The body"}: ${problem}` });
  };
  // Iterative: a body of 1 MiB can be nested half a million levels deep.
  const stack: [path: string, value: unknown][] = [[root, value]];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const [path, found] = next;
    if (typeof found === "string") check(path, found);
    else if (found !== null && typeof found === "object") {
      for (const [key, item] of Object.entries(found)) {
        const at = path.length > 300 ? path : path === "" ? key : `${path}.${key}`;
        if (!Array.isArray(found)) check(at, key);
        stack.push([at, item]);
      }
    }
  }
  if (problems.length > 0) throw new ApiError("invalid_request", problems);
}

/** Replaces each character that cannot be stored with U+FFFD. */
export function clean(text: string): string {
  return text.replaceAll(nul, "\uFFFD").toWellFormed();
}

/** Cleans every string in a JSON value, including keys. Drops what is nested deeper than `levels`. */
export function cleanJson(value: unknown, levels = 64): unknown {
  if (typeof value === "string") return clean(value);
  if (value === null || typeof value !== "object") return value;
  if (levels === 0) return null;
  if (Array.isArray(value)) return value.map((item) => cleanJson(item, levels - 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [clean(key), cleanJson(item, levels - 1)]),
  );
}
