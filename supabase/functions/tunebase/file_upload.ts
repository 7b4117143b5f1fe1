/** What the ways of uploading a file share: its name, purpose and expiry, and what is said of a file that is not valid. */
import * as z from "zod";
import { type DatasetReport, problemLevels, sentence } from "../_shared/datasets/report.ts";
import { ApiError, maxProblems, type Problem } from "../_shared/errors.ts";
import { strictObject } from "../_shared/validation.ts";

export const Purpose = z.literal("fine-tune", {
  error: 'must be "fine-tune", the purpose of files to train on',
});

/** OpenAI's: an hour to thirty days. */
const expirySeconds = z.coerce.number().int().min(3600).max(2_592_000);
export const ExpiresAfter = strictObject({
  anchor: z.literal("created_at", { error: 'must be "created_at"' }),
  seconds: expirySeconds,
});

/** The same in a form: `expires_after[anchor]`, `expires_after[seconds]`. */
export const expiresAfterForm = {
  "expires_after[anchor]": z.literal("created_at", { error: 'must be "created_at"' }).optional(),
  "expires_after[seconds]": expirySeconds.optional(),
};

/** Half an expiry would be none: a file that was to expire would stay. */
export function rejectIncompleteExpiry(form: Record<string, unknown>): void {
  const names = ["expires_after[anchor]", "expires_after[seconds]"] as const;
  for (const [has, lacks] of [names, [names[1], names[0]]] as const) {
    if (!(has in form) || lacks in form) continue;
    throw new ApiError("invalid_request", [{
      param: lacks,
      message: `${lacks}: is required beside ${has}. Send both, or neither for a file that does not expire.`,
    }]);
  }
}

/** A name to show; it never becomes a path. Cut between characters, at 255 of Postgres's. */
export function sanitizeFilename(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  return Array.from(last).slice(-255).join("") || "data.jsonl";
}

/** How many of a file's errors stand in the one sentence that the SDKs show. */
const maxInMessage = 5;

/**
 * A report's errors as one refusal. The SDKs show `error.message` alone, so it has the first five rows' errors and how
 * many there are of each kind.
 */
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
  // An error of every row stands for all of them.
  if (problems.length === 1 && (count === 1 || report.errors[0]?.line === null)) {
    return new ApiError("invalid_file", problems);
  }
  const rows = `${report.error_rows}${report.complete ? "" : " or more"} of ${report.rows} rows`;
  const named = report.errors.slice(0, maxInMessage);
  const more = count -
    named.reduce((sum, { line, code }) => sum + (line === null ? report.problems[code] ?? 1 : 1), 0);
  const summary = [
    `file: ${rows} cannot be trained on (${kinds.map(([code, rows]) => `${code}: ${rows}`).join(", ")}).`,
    ...named.map((finding) => `${finding.line === null ? "" : `Line ${finding.line}: `}${sentence(finding)}`),
    ...(more > 0 ? [`And ${more} more.`] : []),
  ].join(" ");
  return new ApiError("invalid_file", problems.slice(0, maxProblems), { count, summary });
}
