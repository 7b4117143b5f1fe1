/** The estimate of the job that the form describes. */
import { keepPreviousData, useQuery } from "@tanstack/preact-query";
import { useEffect, useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { heldOut } from "../../../../supabase/functions/_shared/contracts/held_out.ts";
import { formatCompact, formatDuration, formatNumber, formatRange, formatUsd } from "../../lib/format.ts";
import { getServices } from "../../lib/services.ts";
import type { JobRequest } from "./form.ts";

const debounceMs = 400;

/** Estimates a job shortly after the last change; meanwhile, the previous estimate stays visible. */
export function useEstimate(body: JobRequest | null) {
  const text = JSON.stringify(body);
  const [debounced, setDebounced] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setDebounced(text), debounceMs);
    return () => clearTimeout(timer);
  }, [text]);
  const query = useQuery({
    queryKey: ["estimate", debounced],
    enabled: debounced !== "null" && body !== null,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    queryFn: async ({ signal }) =>
      unwrap(
        await getServices().api.POST("/fine_tuning/estimates", {
          body: JSON.parse(debounced) as JobRequest,
          signal,
        }),
      ),
  });
  return { ...query, isUpdating: debounced !== text || query.isFetching };
}

export type Estimate = NonNullable<ReturnType<typeof useEstimate>["data"]>;

export function EstimateView(
  { estimate, isUpdating, hasValidationFile }: {
    estimate: Estimate;
    isUpdating: boolean;
    hasValidationFile: boolean;
  },
) {
  const { tokens, rows, steps, time, cost, memory, warnings, hyperparameters } = estimate;
  const split = hyperparameters.validation_split;
  const held = hasValidationFile || typeof split !== "number"
    ? 0
    : heldOut(Math.round(rows.total.expected), split);
  const format = hyperparameters.quantization === "none" ? "bf16" : "NF4";
  return (
    <div aria-busy={isUpdating} style={{ opacity: isUpdating ? 0.6 : 1 }}>
      <dl class="facts">
        <Item
          name="Cost"
          value={formatExpected(cost.usd, formatUsd)}
          detail={cost.usd && formatRange(cost.usd, formatUsd)}
          basis={cost.basis}
        />
        <Item
          name="Time"
          value={formatExpected(time.seconds, formatDuration)}
          detail={time.seconds && formatRange(time.seconds, formatDuration)}
          basis={time.basis}
        />
        <Item
          name="Tokens"
          value={formatCompact(tokens.total.expected)}
          detail={`${formatCompact(tokens.per_epoch.expected)} per epoch`}
          basis={tokens.basis}
        />
        <Item
          name="Steps"
          value={formatCompact(steps.total)}
          detail={`${formatCompact(steps.per_epoch)} per epoch`}
        />
        <Item
          name="Rows"
          value={formatCompact(rows.trained.expected)}
          detail={[
            held > 0 ? `${formatCompact(held)} held out for validation` : null,
            rows.truncated.expected > 0
              ? `${formatCompact(rows.truncated.expected)} truncated`
              : "none truncated",
          ].filter(Boolean).join(", ")}
        />
        <Item
          name="GPU memory"
          value={describeMemory(memory)}
          detail={memory.required_gb &&
            `${formatRange(memory.required_gb, formatNumber)} GB${
              memory.available_gb === null ? "" : ` of ${memory.available_gb} GB`
            }, base model in ${format}`}
          basis={memory.basis}
        />
      </dl>
      {warnings.length > 0 && (
        <ul class="problem plain">
          {warnings.map((warning) => <li key={warning}>{warning}</li>)}
        </ul>
      )}
    </div>
  );
}

const formatExpected = (
  value: { expected: number } | null,
  format: (value: number) => string,
) => value === null ? "unknown" : `about ${format(value.expected)}`;

function describeMemory({ fits, required_gb }: Estimate["memory"]): string {
  if (fits === null) {
    return formatExpected(required_gb, (gb) => `${formatNumber(gb)} GB`);
  }
  return fits ? "fits" : "may not fit";
}

/** `basis`, what the estimate is based on, shows on hover. */
const Item = ({ name, value, detail, basis }: {
  name: string;
  value: string;
  detail?: string | null;
  basis?: string;
}) => (
  <div title={basis}>
    <dt>{name}</dt>
    <dd>
      <strong>{value}</strong>
      {detail && <div class="quiet small">{detail}</div>}
    </dd>
  </div>
);
