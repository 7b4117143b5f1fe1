/** Describes in a sentence how much of a file is also in another. Imports only types, so that tests can run it alone. */
import type { Schemas } from "../../../../client/mod.ts";

const format = (value: number) => value.toLocaleString();

export function describeOverlap(
  { rows, exact, distinct_rows, other_distinct_rows }: Schemas["FileOverlap"],
  name: string,
  otherName: string,
): string {
  if (rows === 0) {
    return exact
      ? `${name} and ${otherName} have no rows in common.`
      : `Samples of both files have no rows in common.`;
  }
  const about = exact ? "" : "About ";
  return `${about}${format(rows)} of ${format(distinct_rows)} distinct rows of ${name} ${
    rows === 1 ? "is" : "are"
  } also in ${otherName}, which has ${exact ? "" : "about "}${format(other_distinct_rows)}.`;
}
