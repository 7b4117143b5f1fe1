/** `limit` and `after` of a list. */
import * as z from "zod";
import { parseOrThrow } from "../_shared/validation.ts";

/** The schema of both. */
export const limits = (most: number) =>
  z.object({ limit: z.coerce.number().int().min(1).max(most).default(20), after: z.string().optional() });

/** Reads them from a query; `limit` is 20 unless told, `most` at the most. */
export function paging(
  query: Record<string, string>,
  most = 100,
): { limit: number; after?: string | undefined } {
  return parseOrThrow(limits(most), query);
}
