/** The runs' loss curves in one chart, by step or by trained tokens. */
import { useQueries } from "@tanstack/preact-query";
import { useMemo, useState } from "preact/hooks";
import { formatCompact, formatNumber } from "../../lib/format.ts";
import type { Job, MetricsPoint } from "../../lib/types.ts";
import { Chart } from "../../ui/chart.tsx";
import { ErrorMessage, Loading } from "../../ui/feedback.tsx";
import { fetchMetrics } from "../jobs/use_job.ts";
import { runNames } from "./facts_table.tsx";
import { overlay } from "./overlay.ts";

type LossName = "training_loss" | "validation_loss";
const titles: Record<LossName, string> = {
  training_loss: "Training loss",
  validation_loss: "Validation loss",
};
const lossNames: LossName[] = ["training_loss", "validation_loss"];
const axes = { step: "Step", tokens: "Trained tokens" } as const;
type Axis = keyof typeof axes;

/** A run's metrics do not have token counts; its average per step is close, because steps have similar sizes. */
const tokensPerStep = ({ trained_tokens, current_step }: Job) =>
  trained_tokens === null || current_step === null || current_step === 0 ? 0 : trained_tokens / current_step;

export function LossCharts({ jobs }: { jobs: Job[] }) {
  const [axis, setAxis] = useState<Axis>("step");
  const metrics = useQueries({
    queries: jobs.map(({ id }) => ({
      queryKey: ["metrics", id, "compare"],
      queryFn: async () => (await fetchMetrics(id, {})).data,
    })),
  });
  const loaded = metrics.map(({ data }) => data);
  const error = metrics.find((query) => query.error !== null)?.error ?? null;
  const names = runNames(jobs);
  const charts = useMemo(() =>
    lossNames.map((name) => {
      const curves = jobs.map((job, n) => {
        const scale = axis === "step" ? 1 : tokensPerStep(job);
        return (loaded[n] ?? []).flatMap((point): [number, number][] => {
          const value = valueOf(point, name);
          return value === null ? [] : [[Math.round(point.step * scale), value]];
        });
      });
      return { name, ...overlay(curves) };
    }).filter(({ x }) => x.length > 0), [axis, ...loaded]);
  return (
    <section aria-labelledby="curves">
      <div class="page-head">
        <h2 id="curves">Loss</h2>
        <label>
          By{" "}
          <select
            value={axis}
            onChange={(event) => setAxis(event.currentTarget.value === "tokens" ? "tokens" : "step")}
          >
            {Object.entries(axes).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
          </select>
        </label>
      </div>
      {error !== null && <ErrorMessage error={error} />}
      {loaded.some((data) => data === undefined)
        ? error === null && <Loading what="metrics" />
        : charts.length === 0
        ? <p class="quiet">Curves appear once training starts.</p>
        : (
          <div class="charts even">
            {charts.map(({ name, x, columns }) => (
              <Chart
                key={`${name} ${axis}`}
                title={titles[name]}
                x={x}
                series={columns.map((values, n) => ({
                  label: names[n] ?? "",
                  values,
                  sparse: name === "validation_loss",
                  connected: true,
                }))}
                format={formatNumber}
                formatX={axis === "tokens" ? formatCompact : undefined}
                unitX={axis === "tokens" ? "tokens" : "step"}
              />
            ))}
          </div>
        )}
    </section>
  );
}

const valueOf = (point: MetricsPoint, name: LossName): number | null => point[name] ?? null;
