/** List pagination: `limit` and `after`. */
import * as z from "zod";
import { parseOrThrow } from "../_shared/validation.ts";

export const pagingSchema = (max: number) =>
  z.object({ limit: z.coerce.number().int().min(1).max(max).default(20), after: z.string().optional() });

/** Parses both from a query. `max`: the maximum page size. */
export function paging(
  query: Record<string, string>,
  max = 100,
): { limit: number; after?: string | undefined } {
  return parseOrThrow(pagingSchema(max), query);
}
