/** How much of a file another one has, as a sentence. Imports nothing but types, so that tests run it alone. */
import type { Schemas } from "../../../../client/mod.ts";

const format = (value: number) => value.toLocaleString();

export function describeOverlap(
  { rows, exact, distinct_rows, other_distinct_rows }: Schemas["FileOverlap"],
  name: string,
  otherName: string,
): string {
  if (rows === 0) {
    return exact
      ? `${name} and ${otherName} have no row in common.`
      : `A sample of both files has no row in common.`;
  }
  const about = exact ? "" : "About ";
  return `${about}${format(rows)} of ${format(distinct_rows)} distinct rows of ${name} ${
    rows === 1 ? "is" : "are"
  } also in ${otherName}, which has ${exact ? "" : "about "}${format(other_distinct_rows)}.`;
}
