/** Prints a summary of a file's conversion. */
import type { ConversionSummary } from "../../supabase/functions/_shared/datasets/convert/conversion.ts";
import { describeFormat } from "../../supabase/functions/_shared/datasets/convert/format_names.ts";
import { formatCount } from "../terminal/format.ts";
import { print, printFields, stdoutColors } from "../terminal/output.ts";

/** Prints the detected format, and the first rows before and after conversion. */
export function printConversion({ source_format, rows, ignored_fields, sample }: ConversionSummary): void {
  printFields([
    ["detected", describeFormat(source_format)],
    ["rows", formatCount(rows)],
    ["ignored", ignored_fields.length === 0 ? null : `the fields ${ignored_fields.join(", ")}`],
  ]);
  for (const { line, before, after } of sample) {
    print(stdoutColors.dim(`  line ${line}`));
    print(`    ${stdoutColors.dim("before")}  ${before}`);
    print(`    ${stdoutColors.dim("after")}   ${after}`);
  }
}
