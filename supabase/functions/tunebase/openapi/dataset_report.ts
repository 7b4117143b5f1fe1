/** The schema of `DatasetReport` for the OpenAPI document. */
import * as z from "zod";
import type { DatasetReport as Report } from "../../_shared/datasets/report.ts";

const count = z.int().min(0);
const Finding = z.object({
  line: z.int().min(1).nullable().describe("null: the whole file"),
  code: z.string(),
  field: z.string().nullable(),
  what: z.string(),
  fix: z.string(),
});

const Known = z.object({
  format: z.enum(["chat", "preference"]).nullable(),
  rows: count,
  assistant_messages: count,
  trainable_rows: count,
  rows_without_labels: count,
  duplicates: z.object({
    rows: count,
    exact: z.boolean(),
    examples: z.array(z.object({ line: z.int(), first_line: z.int() })),
  }),
  tokens: z.object({
    method: z.string(),
    total: count,
    trainable: count,
    histogram: z.array(z.object({ up_to: z.int().nullable(), rows: count })),
  }),
  longest_rows: z.array(z.object({ line: z.int(), bytes: count, tokens: count })).describe(
    "The longest first",
  ),
  problems: z.partialRecord(z.string(), count),
  error_rows: count,
  complete: z.boolean(),
  errors: z.array(Finding).optional().describe("Omitted in lists"),
  warnings: z.array(Finding),
});

/** Fails to compile if the schema does not match the type. */
type Agrees = Report extends z.infer<typeof Known> ? typeof Known : never;
const agreed: Agrees = Known;

/** Loose, because reports stored by earlier versions can differ. */
export const DatasetReport = agreed.loose();
