/**
 * What JSON.parse takes and a training cannot: half of a character in any text or key, and a number that only Infinity can
 * hold (`1e999`). Looked for in the whole row, and in the JSON texts that calls have as arguments, but only where the row's
 * text can hold one: a walk over every row would cost as much as its parsing.
 */
import { type AddIssue, addLoneSurrogate, maxDepth } from "./report.ts";

/** An escape of a surrogate; in arguments, which are JSON within JSON, behind more backslashes. */
const surrogate = /\\u[dD][89a-fA-F]/;
/** An exponent of three digits, or more digits than a double has. The lookbehind keeps long runs of digits linear. */
const hugeNumber = /[0-9.][eE]\+?[0-9]{3}|(?<![0-9])[0-9]{309}/;

/** Tells the first of each kind, with its field. `text` is the row's own, `row` what it parses to. */
export function checkParsedValues(text: string, row: unknown, knownHalf: boolean, addIssue: AddIssue): void {
  const half = !knownHalf && text.includes("\\u") && surrogate.test(text);
  const huge = hugeNumber.test(text);
  if (half || huge) new Walk(half, huge, addIssue).visit(row, "", maxDepth * 2);
}

class Walk {
  constructor(private half: boolean, private huge: boolean, private readonly addIssue: AddIssue) {}

  visit(value: unknown, field: string, levels: number): void {
    if (!this.half && !this.huge || levels === 0) return;
    if (typeof value === "string") this.#text(value, field, levels);
    else if (typeof value === "number") {
      if (this.huge && !Number.isFinite(value)) {
        this.huge = false;
        this.addIssue(
          "not_json",
          shownField(field),
          "holds a number that is too large to be read (over 1.8e308)",
          "Write it as a text, or a smaller number.",
        );
      }
    } else if (Array.isArray(value)) {
      for (const [i, item] of value.entries()) this.visit(item, `${field}[${i}]`, levels - 1);
    } else if (value !== null && typeof value === "object") {
      for (const [key, item] of Object.entries(value)) {
        const at = field === "" ? key : `${field}.${key}`;
        this.#text(key, at, 0);
        this.visit(item, at, levels - 1);
      }
    }
  }

  #text(text: string, field: string, levels: number): void {
    if (this.half && !text.isWellFormed()) {
      this.half = false;
      addLoneSurrogate(shownField(field), this.addIssue);
    } else if (levels > 0 && field.endsWith(".arguments")) {
      const inside = parsed(text);
      // Encoded twice, as some programs do.
      this.visit(typeof inside === "string" ? parsed(inside) : inside, field, levels - 1);
    }
  }
}

/** Keys are the file's own: the report must be short, and storable. */
const shownField = (field: string) => field.slice(0, 200).replaceAll("\0", "\ufffd").toWellFormed();

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // no JSON: the check of calls tells it
  }
}
