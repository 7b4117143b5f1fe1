/**
 * Text that Postgres can store. It refuses two things that JSON and percent-encoding can carry: NUL, and half of a
 * surrogate pair (`\ud83d`, an emoji that was cut). What a client sends is refused, naming the field; what a worker or
 * RunPod reports is cleaned, as a log line must not stop a training.
 */
import { ApiError, type Problem } from "./errors.ts";

const nul = "\0";

/** What keeps a text from being stored; null when nothing does. */
function fault(text: string): string | null {
  if (text.includes(nul)) return "holds a NUL character (\\u0000), which cannot be stored. Leave it out.";
  return text.isWellFormed()
    ? null
    : "holds half of a character (a lone surrogate such as \\ud83d). Cut texts between characters.";
}

/** Refuses a parsed JSON value with a text, as a key or a value, that cannot be stored; `root` is its own name. */
export function rejectUnstorableText(value: unknown, root = ""): void {
  const problems: Problem[] = [];
  const tell = (path: string, text: string) => {
    const why = fault(text);
    if (why === null) return;
    const param = clean(path) || null;
    problems.push({ param, message: `${param ?? "The body"}: ${why}` });
  };
  // Not recursive: a body of 1 MiB can be nested half a million levels deep.
  const left: [path: string, value: unknown][] = [[root, value]];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [path, found] = next;
    if (typeof found === "string") tell(path, found);
    else if (found !== null && typeof found === "object") {
      for (const [key, item] of Object.entries(found)) {
        const at = path.length > 300 ? path : path === "" ? key : `${path}.${key}`;
        if (!Array.isArray(found)) tell(at, key);
        left.push([at, item]);
      }
    }
  }
  if (problems.length > 0) throw new ApiError("invalid_request", problems);
}

/** The text without what cannot be stored: each such character becomes U+FFFD. */
export function clean(text: string): string {
  return text.replaceAll(nul, "\uFFFD").toWellFormed();
}

/** The JSON value with every text in it cleaned, keys too. Deeper than `levels` it is dropped: no message is so deep. */
export function cleanJson(value: unknown, levels = 64): unknown {
  if (typeof value === "string") return clean(value);
  if (value === null || typeof value !== "object") return value;
  if (levels === 0) return null;
  if (Array.isArray(value)) return value.map((item) => cleanJson(item, levels - 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [clean(key), cleanJson(item, levels - 1)]),
  );
}
