/** A file's validation report: statistics, errors and warnings. */
import { formatCount, humanize } from "../../lib/format.ts";
import type { DatasetReport } from "../../lib/types.ts";
import { FieldList } from "../../ui/display.tsx";
import { IssueTable } from "../../ui/issue_table.tsx";

export function ReportView({ report }: { report: DatasetReport }) {
  const {
    rows,
    trainable_rows,
    assistant_messages,
    duplicates,
    tokens,
    errors = [],
    warnings,
  } = report;
  return (
    <>
      <section aria-labelledby="contents">
        <h2 id="contents">Contents</h2>
        <FieldList
          fields={[
            [
              "Format",
              report.format === null ? "unknown" : humanize(report.format),
            ],
            ["Rows", formatCount(rows)],
            ["Trainable rows", formatCount(trainable_rows)],
            ["Assistant messages", formatCount(assistant_messages)],
            ["Tokens", `about ${formatCount(tokens.total)}`],
            [
              "Duplicate rows",
              `${duplicates.exact ? "" : "about "}${formatCount(duplicates.rows)}`,
            ],
          ]}
        />
        {duplicates.examples.length > 0 && (
          <p class="quiet small">
            Duplicates:{" "}
            {duplicates.examples.map(({ line, first_line }) =>
              `line ${formatCount(line)} repeats line ${formatCount(first_line)}`
            ).join(", ")}
            {duplicates.rows > duplicates.examples.length ? ", …" : "."}
          </p>
        )}
      </section>
      {errors.length > 0 && (
        <section aria-labelledby="errors">
          <h2 id="errors">Errors</h2>
          <IssueTable label="Errors" issues={errors} />
        </section>
      )}
      {warnings.length > 0 && (
        <section aria-labelledby="warnings">
          <h2 id="warnings">Warnings</h2>
          <IssueTable label="Warnings" issues={warnings} />
        </section>
      )}
    </>
  );
}
