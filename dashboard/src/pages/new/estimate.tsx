/** What it will take, as the form stands. */
import { keepPreviousData, useQuery } from "@tanstack/preact-query";
import { useEffect, useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { duration, figure, range, short, usd } from "../../format.ts";
import { use } from "../../services.ts";
import type { Body } from "./form.ts";

/** So long after the last change. */
const settleMs = 400;

/** The estimate of a body, a moment after it has settled; the one before stays to be seen meanwhile. */
export function useEstimate(body: Body | null) {
  const text = JSON.stringify(body);
  const [settled, settle] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => settle(text), settleMs);
    return () => clearTimeout(timer);
  }, [text]);
  const query = useQuery({
    queryKey: ["estimate", settled],
    enabled: settled !== "null" && body !== null,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    queryFn: async ({ signal }) =>
      unwrap(await use().api.POST("/fine_tuning/estimates", { body: JSON.parse(settled) as Body, signal })),
  });
  return { ...query, isSettling: settled !== text || query.isFetching };
}

export type Estimate = NonNullable<ReturnType<typeof useEstimate>["data"]>;

export function EstimateView({ of, busy }: { of: Estimate; busy: boolean }) {
  const { tokens, rows, steps, time, cost, memory, warnings } = of;
  const expected = (value: { expected: number } | null, show: (value: number) => string) =>
    value === null ? "not known" : `about ${show(value.expected)}`;
  return (
    <div aria-busy={busy} style={{ opacity: busy ? 0.6 : 1 }}>
      <dl class="facts">
        <Fact
          name="Cost"
          main={expected(cost.usd, usd)}
          more={cost.usd && range(cost.usd, usd)}
          rests={cost.basis}
        />
        <Fact
          name="Time"
          main={expected(time.seconds, duration)}
          more={time.seconds && range(time.seconds, duration)}
          rests={time.basis}
        />
        <Fact
          name="Tokens"
          main={short(tokens.total.expected)}
          more={`${short(tokens.per_epoch.expected)} an epoch`}
          rests={tokens.basis}
        />
        <Fact name="Steps" main={short(steps.total)} more={`${short(steps.per_epoch)} an epoch`} />
        <Fact
          name="Rows"
          main={short(rows.trained.expected)}
          more={rows.truncated.expected > 0 ? `${short(rows.truncated.expected)} of them cut` : "none is cut"}
        />
        <Fact
          name="GPU memory"
          main={memory.fits === null
            ? expected(memory.required_gb, (gb) => `${figure(gb)} GB`)
            : memory.fits
            ? "fits"
            : "may not fit"}
          more={memory.required_gb &&
            `${range(memory.required_gb, figure)} GB${
              memory.available_gb === null ? "" : ` of ${memory.available_gb}`
            }`}
          rests={memory.basis}
        />
      </dl>
      {warnings.length > 0 && (
        <ul class="problem plain">{warnings.map((warning) => <li key={warning}>{warning}</li>)}</ul>
      )}
    </div>
  );
}

const Fact = ({ name, main, more, rests }: {
  name: string;
  main: string;
  more?: string | null;
  rests?: string;
}) => (
  <div title={rests}>
    <dt>{name}</dt>
    <dd>
      <strong>{main}</strong>
      {more && <div class="quiet small">{more}</div>}
    </dd>
  </div>
);
