/** What the ways of uploading a file share: its name, purpose and expiry, and what is said of a file that is not valid. */
import * as z from "zod";
import { type DatasetReport, sentence } from "../_shared/dataset/report.ts";
import type { Problem } from "../_shared/errors.ts";
import { fields } from "../_shared/validation.ts";

export const Purpose = z.literal("fine-tune", {
  error: 'must be "fine-tune", the purpose of files to train on',
});

/** OpenAI's: an hour to thirty days. */
const expirySeconds = z.coerce.number().int().min(3600).max(2_592_000);
export const ExpiresAfter = fields({
  anchor: z.literal("created_at", { error: 'must be "created_at"' }),
  seconds: expirySeconds,
});

/** The same in a form: `expires_after[anchor]`, `expires_after[seconds]`. */
export const expiresAfterForm = {
  "expires_after[anchor]": z.literal("created_at", { error: 'must be "created_at"' }).optional(),
  "expires_after[seconds]": expirySeconds.optional(),
};

/** A name to show; it never becomes a path. */
export function cleanName(name: string): string {
  return name.split(/[/\\]/).at(-1)?.slice(-255) || "data.jsonl";
}

/** Every error of a report as a problem of the field `file`. */
export function problemsOf(report: DatasetReport): Problem[] {
  const problems: Problem[] = report.errors.map((finding) => ({
    param: "file",
    ...(finding.line === null ? {} : { line: finding.line }),
    message: `file${finding.line === null ? "" : `, line ${finding.line}`}: ${sentence(finding)}`,
  }));
  const told = new Set(report.errors.map(({ line }) => line)).size;
  if (report.error_rows > told) {
    problems.push({
      param: "file",
      message: `file: ${report.error_rows}${
        report.complete ? "" : " or more"
      } rows cannot be trained on; the first ${told} are listed.`,
    });
  }
  return problems;
}
