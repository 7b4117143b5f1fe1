/** Groups a file's issues, so that a problem in a hundred rows is one entry. Imports only types. */
import type { DatasetIssue } from "../lib/types.ts";

export interface IssueGroup {
  /** "whole file", "line 2", or "lines 2, 5, 9 and 12 more" */
  where: string;
  field: string | null;
  what: string;
  fix: string;
  /** The number of issues. */
  count: number;
}

const namedLines = 5;
const list = new Intl.ListFormat("en", { type: "conjunction" });

/** Issues of the whole file come first. A group shows its first issue's text. */
export function groupIssues(issues: readonly DatasetIssue[]): IssueGroup[] {
  const groups = Map.groupBy(
    issues,
    ({ line, code, field, fix }) => JSON.stringify([line === null, code, withoutIndexes(field), fix]),
  );
  return [...groups.values()]
    .toSorted(([a], [b]) => Number(a?.line !== null) - Number(b?.line !== null))
    .flatMap((group) => {
      const [first] = group;
      if (first === undefined) return [];
      const isSame = group.every(({ field }) => field === first.field);
      return [{
        where: describeLines(group.flatMap(({ line }) => line ?? [])),
        field: isSame ? first.field : withoutIndexes(first.field),
        what: first.what,
        fix: first.fix,
        count: group.length,
      }];
    });
}

/** `messages[0].role` as `messages[].role` */
const withoutIndexes = (field: string | null) => field?.replace(/\[\d+\]/g, "[]") ?? null;

function describeLines(lines: number[]): string {
  const unique = [...new Set(lines)];
  if (unique.length === 0) return "whole file";
  const named = unique.slice(0, namedLines).map((line) => line.toLocaleString());
  const more = unique.length - named.length;
  return `${unique.length === 1 ? "line" : "lines"} ${
    list.format(more === 0 ? named : [...named, `${more} more`])
  }`;
}
