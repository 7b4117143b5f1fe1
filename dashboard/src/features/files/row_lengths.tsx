/** How long a file's rows are, and which of them a fine-tune would truncate. */
import { useMemo, useState } from "preact/hooks";
import { tokenBuckets } from "../../../../supabase/functions/_shared/datasets/report.ts";
import { formatBytes, formatCount, formatRange, formatShare, pluralize } from "../../lib/format.ts";
import { useModels, usePermission } from "../../lib/queries.ts";
import type { ApiFile, BaseModel, DatasetReport } from "../../lib/types.ts";
import { ErrorMessage, Loading } from "../../ui/feedback.tsx";
import { Field } from "../../ui/forms.tsx";
import { Table } from "../../ui/table.tsx";
import { useEstimate } from "../new_job/estimate.tsx";
import { buildJobRequest, readForm } from "../new_job/form.ts";
import { TokenHistogram } from "./token_histogram.tsx";

export function RowLengths(
  { file, report }: { file: ApiFile; report: DatasetReport },
) {
  const canEstimate = usePermission("jobs:write");
  const models = useModels();
  const model = models.data?.base[0];
  if (report.tokens.histogram.length === 0) return null;
  return (
    <section aria-labelledby="lengths">
      <h2 id="lengths">Row lengths</h2>
      {canEstimate && file.status === "processed" && model !== undefined
        ? (
          <Truncation
            file={file}
            report={report}
            models={models.data?.base ?? []}
          />
        )
        : (
          <TokenHistogram
            histogram={report.tokens.histogram}
            maxLength={null}
          />
        )}
      <p class="quiet small">
        Each bar counts the rows up to the length below it. Lengths are estimated: {report.tokens.method}.
      </p>
      {report.longest_rows.length > 0 && (
        <>
          <h3>Longest rows</h3>
          <Table label="Longest rows" columns={["Line", "Tokens", "Size"]}>
            {report.longest_rows.map(({ line, tokens, bytes }) => (
              <tr key={line}>
                <th scope="row">{formatCount(line)}</th>
                <td>about {formatCount(tokens)}</td>
                <td>{formatBytes(bytes)}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </section>
  );
}

/** Counted with the model's own tokenizer, as for the estimate of a fine-tune. */
function Truncation(
  { file, report, models }: {
    file: ApiFile;
    report: DatasetReport;
    models: BaseModel[];
  },
) {
  const [modelId, setModelId] = useState(models[0]?.id ?? "");
  const [maxLength, setMaxLength] = useState("");
  const model = models.find(({ id }) => id === modelId);
  const body = useMemo(() =>
    buildJobRequest({
      ...readForm(new URLSearchParams()),
      model: modelId,
      training_file: file.id,
      settings: { max_length: maxLength },
    }, report.format), [modelId, maxLength, file.id, report.format]);
  const estimate = useEstimate(body);
  const used = estimate.data?.hyperparameters.max_length;
  const limit = typeof used === "number" ? used : null;
  const lengths = tokenBuckets.filter((bound) => bound >= 256 && bound <= (model?.max_length ?? 0));
  return (
    <>
      <div class="fields">
        <Field label="Model">
          {(control) => (
            <select
              {...control}
              value={modelId}
              onChange={(event) => {
                setModelId(event.currentTarget.value);
                setMaxLength("");
              }}
            >
              {models.map(({ id }) => <option key={id} value={id}>{id}</option>)}
            </select>
          )}
        </Field>
        <Field
          label="Max length"
          hint="In tokens. Longer rows are truncated from the start."
        >
          {(control) => (
            <select
              {...control}
              value={maxLength}
              onChange={(event) => setMaxLength(event.currentTarget.value)}
            >
              <option value="">
                {maxLength !== "" || limit === null ? "auto" : `auto: ${formatCount(limit)}`}
              </option>
              {lengths.map((bound) => <option key={bound} value={bound}>{formatCount(bound)}</option>)}
            </select>
          )}
        </Field>
      </div>
      {estimate.error !== null
        ? <ErrorMessage error={estimate.error} />
        : estimate.data === undefined
        ? <Loading what="token counts" />
        : (
          <p role="status" aria-busy={estimate.isUpdating}>
            {describeTruncation(estimate.data.rows, limit)}
          </p>
        )}
      <TokenHistogram histogram={report.tokens.histogram} maxLength={limit} />
    </>
  );
}

type Rows = NonNullable<ReturnType<typeof useEstimate>["data"]>["rows"];

function describeTruncation(
  { truncated, total }: Rows,
  limit: number | null,
): string {
  const length = limit === null ? "the maximum length" : pluralize(limit, "token");
  if (truncated.high === 0) {
    return `No row exceeds ${length}: nothing is truncated.`;
  }
  const isExact = truncated.low === truncated.high;
  const rows = `${isExact ? "" : "About "}${formatCount(truncated.expected)} of ${
    pluralize(total.expected, "row")
  }`;
  const share = formatShare(
    total.expected === 0 ? null : truncated.expected / total.expected,
  );
  const [exceed, are] = truncated.expected === 1 ? ["exceeds", "is"] : ["exceed", "are"];
  const interval = isExact ? "" : ` (95% interval: ${formatRange(truncated, formatCount)})`;
  return `${rows} (${share}) ${exceed} ${length} and ${are} truncated from the start${interval}.`;
}
