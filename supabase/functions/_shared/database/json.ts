/** jsonb values. */
import * as z from "zod";

export type Json = string | number | boolean | null | { [key: string]: Json } | Json[];

/** A jsonb column. Checks only that it is not null; parse its contents where they are used. */
export const json = () => z.custom<NonNullable<Json>>((value) => value !== undefined && value !== null);
