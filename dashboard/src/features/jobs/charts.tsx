/** The charts of a run. Dragging over one zooms in on a range of steps. */
import { useMemo } from "preact/hooks";
import {
  charts,
  metricField,
  type MetricName,
} from "../../../../supabase/functions/_shared/contracts/metrics.ts";
import { formatCompact, formatCount, formatNumber } from "../../lib/format.ts";
import type { MetricsPoint } from "../../lib/types.ts";
import { Chart } from "../../ui/chart.tsx";
import { column, hasValues } from "./metrics.ts";
import type { StepRange } from "./use_job.ts";

const formatterOf = (name: MetricName) =>
  metricField(name).unit === "tokens per second" ? formatCompact : formatNumber;

export function Charts({ points, plannedSteps, range, setRange }: {
  points: MetricsPoint[];
  /** For a running job: the charts extend to its last step. */
  plannedSteps: number | null;
  range: StepRange | null;
  setRange: (range: StepRange | null) => void;
}) {
  const x = useMemo(() => points.map(({ step }) => step), [points]);
  const visible = useMemo(() =>
    charts.map(({ title, fromZero, series }) => ({
      title,
      fromZero,
      format: formatterOf(series[0]?.name ?? "training_loss"),
      series: series.filter(({ name }) => hasValues(points, name)).map((
        { name, label, rare },
      ) => ({
        label,
        values: column(points, name),
        sparse: rare,
      })),
    })).filter(({ series }) => series.length > 0), [points]);
  if (points.length === 0) {
    return <p class="quiet">Charts appear once training starts.</p>;
  }
  return (
    <>
      {range !== null && (
        <p>
          Steps {formatCount(range.from)} to {formatCount(range.to)}.{" "}
          <button type="button" class="small" onClick={() => setRange(null)}>
            Show the whole run
          </button>
        </p>
      )}
      <div class="charts" data-points={points.length}>
        {visible.map((chart) => (
          <Chart
            key={chart.title}
            x={x}
            {...chart}
            unitX="step"
            until={range === null ? plannedSteps ?? undefined : undefined}
            onRange={(from, to) => setRange({ from: Math.floor(from), to: Math.ceil(to) })}
          />
        ))}
      </div>
      <p class="quiet small">
        By optimizer step. Drag over a chart to zoom in.
      </p>
    </>
  );
}
