/** A file's histogram, including empty buckets between others, and each bar's height. Imports only the bucket bounds. */
import { tokenBuckets } from "../../../../supabase/functions/_shared/datasets/report.ts";
import type { DatasetReport } from "../../lib/types.ts";

export interface TokenBucket {
  /** From 1. */
  from: number;
  /** null: no bound */
  upTo: number | null;
  rows: number;
}

export type Scale = "linear" | "logarithmic";

/** From the shortest bucket that has rows to the longest. */
export function fillBuckets(
  histogram: DatasetReport["tokens"]["histogram"],
): TokenBucket[] {
  const rowsOf = new Map(histogram.map(({ up_to, rows }) => [up_to, rows]));
  // A report of another version can have other bounds.
  const bounds = [
    ...new Set([
      ...tokenBuckets,
      ...histogram.flatMap(({ up_to }) => up_to ?? []),
    ]),
  ].sort((a, b) => a - b);
  const all = [...bounds, null].map((upTo, n): TokenBucket => ({
    from: (bounds[n - 1] ?? 0) + 1,
    upTo,
    rows: rowsOf.get(upTo) ?? 0,
  }));
  const hasRows = ({ rows }: TokenBucket) => rows > 0;
  return all.slice(
    Math.max(0, all.findIndex(hasRows)),
    all.findLastIndex(hasRows) + 1,
  );
}

/** The height of a bar as a share of the highest one. On the logarithmic scale, a single row is still visible. */
export function barHeight(rows: number, most: number, scale: Scale): number {
  if (rows === 0 || most === 0) return 0;
  return scale === "linear" ? rows / most : Math.log1p(rows) / Math.log1p(most);
}

/** `512`, `1.5k`: lengths are multiples of 1,024. */
export const formatBound = (tokens: number): string =>
  tokens < 1024 || tokens % 512 !== 0 ? tokens.toLocaleString() : `${tokens / 1024}k`;
