/**
 * Values that JSON.parse accepts but training does not: lone surrogates in strings and keys, and numbers that overflow to
 * Infinity (`1e999`). Searches the row and the JSON arguments of tool calls, but only if the row's text can contain such
 * a value, because walking a row costs as much as parsing it.
 */
import { type AddIssue, addLoneSurrogate, maxDepth } from "./report.ts";

/** An escaped surrogate. In arguments, which are JSON within JSON, more backslashes precede it. */
const surrogate = /\\u[dD][89a-fA-F]/;
/** A three-digit exponent, or more digits than a double can hold. The lookbehind keeps long runs of digits linear. */
const hugeNumber = /[0-9.][eE]\+?[0-9]{3}|(?<![0-9])[0-9]{309}/;

/** Reports the first value of each kind. `text`: the row's JSON; `row`: its parsed value. */
export function checkParsedValues(
  text: string,
  row: unknown,
  hasSurrogateIssue: boolean,
  addIssue: AddIssue,
): void {
  const half = !hasSurrogateIssue && text.includes("\\u") && surrogate.test(text);
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
          "contains a number that is too large (over 1.8e308)",
          "Use a string or a smaller number.",
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
      // Some programs encode arguments twice.
      this.visit(typeof inside === "string" ? parsed(inside) : inside, field, levels - 1);
    }
  }
}

/** Keys come from the file: truncates them and removes what cannot be stored. */
const shownField = (field: string) => field.slice(0, 200).replaceAll("\0", "\ufffd").toWellFormed();

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // not JSON: reported by the tool call check
  }
}
