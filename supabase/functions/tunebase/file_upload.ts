/** What all ways of uploading a file share: its name, purpose and expiry, and the error for an invalid file. */
import * as z from "zod";
import { type DatasetReport, problemLevels, sentence } from "../_shared/datasets/report.ts";
import { ApiError, maxProblems, type Problem } from "../_shared/errors.ts";
import { strictObject } from "../_shared/validation.ts";

export const Purpose = z.literal("fine-tune", {
  error: 'must be "fine-tune"',
});

/** As in OpenAI's API: one hour to thirty days. */
const expirySeconds = z.coerce.number().int().min(3600).max(2_592_000);
export const ExpiresAfter = strictObject({
  anchor: z.literal("created_at", { error: 'must be "created_at"' }),
  seconds: expirySeconds,
});

/** The same as form fields. */
export const expiresAfterForm = {
  "expires_after[anchor]": z.literal("created_at", { error: 'must be "created_at"' }).optional(),
  "expires_after[seconds]": expirySeconds.optional(),
};

/** JSON Schema's `dependentRequired`: each of the two fields requires the other. */
export const expiryFieldsTogether = {
  "expires_after[anchor]": ["expires_after[seconds]"],
  "expires_after[seconds]": ["expires_after[anchor]"],
};

/** With only one of the two fields, the file would silently never expire. */
export function rejectIncompleteExpiry(form: Record<string, unknown>): void {
  for (const [has, required] of Object.entries(expiryFieldsTogether)) {
    const lacks = required.find((name) => has in form && !(name in form));
    if (lacks === undefined) continue;
    throw new ApiError("invalid_request", [{
      param: lacks,
      message: `${lacks}: is required with ${has}. Send both, or neither if the file should not expire.`,
    }]);
  }
}

/** A display name, never a path. Truncated to 255 Postgres characters. */
export function sanitizeFilename(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  return Array.from(last).slice(-255).join("") || "data.jsonl";
}

/** How many of a file's errors `error.message` lists. */
const maxInMessage = 5;

/** The ApiError for an invalid file. The SDKs show only `error.message`, so it lists the first errors and counts all kinds. */
export function invalidFile(report: DatasetReport): ApiError {
  const problems: Problem[] = report.errors.map((finding) => ({
    param: "file",
    ...(finding.line === null ? {} : { line: finding.line }),
    message: `file${finding.line === null ? "" : `, line ${finding.line}`}: ${sentence(finding)}`,
  }));
  const kinds = Object.entries(report.problems).filter(([code]) =>
    problemLevels[code as keyof typeof problemLevels] === "error"
  );
  const count = Math.max(problems.length, kinds.reduce((sum, [, rows]) => sum + rows, 0));
  // An error that every row has is reported once, for the file.
  if (problems.length === 1 && (count === 1 || report.errors[0]?.line === null)) {
    return new ApiError("invalid_file", problems);
  }
  const rows = `${report.error_rows}${report.complete ? "" : " or more"} of ${report.rows} rows`;
  const named = report.errors.slice(0, maxInMessage);
  const more = count -
    named.reduce((sum, { line, code }) => sum + (line === null ? report.problems[code] ?? 1 : 1), 0);
  const summary = [
    `file: ${rows} are invalid (${kinds.map(([code, rows]) => `${code}: ${rows}`).join(", ")}).`,
    ...named.map((finding) => `${finding.line === null ? "" : `Line ${finding.line}: `}${sentence(finding)}`),
    ...(more > 0 ? [`And ${more} more.`] : []),
  ].join(" ");
  return new ApiError("invalid_file", problems.slice(0, maxProblems), { count, summary });
}
