/** What a jsonb value is. */
import * as z from "zod";

export type Json = string | number | boolean | null | { [key: string]: Json } | Json[];

/**
 * A jsonb column. Nothing is checked but that it is there: it came from `JSON.parse`, and what is in it is for whoever
 * knows the column to check.
 */
export const json = () => z.custom<NonNullable<Json>>((value) => value !== undefined && value !== null);
