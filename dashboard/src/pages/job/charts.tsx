/** The charts of a run. Drag over one for a part of it in more detail. */
import { useMemo } from "preact/hooks";
import {
  charts,
  metricField,
  type MetricName,
} from "../../../../supabase/functions/_shared/contracts/metrics.ts";
import type { Point } from "../../data.ts";
import { figure, short } from "../../format.ts";
import { column, hasAny } from "../../metrics.ts";
import { Chart } from "../../ui/chart.tsx";
import type { Range } from "./use_job.ts";

/** A rate is read best in thousands, everything else by its digits. */
const show = (name: MetricName) => metricField(name).unit === "tokens per second" ? short : figure;

export function Charts({ points, part, setPart }: {
  points: Point[];
  part: Range | null;
  setPart: (part: Range | null) => void;
}) {
  const x = useMemo(() => points.map(({ step }) => step), [points]);
  const shown = useMemo(() =>
    charts.map(({ title, fromZero, series }) => ({
      title,
      fromZero,
      show: show(series[0]?.name ?? "training_loss"),
      series: series.filter(({ name }) => hasAny(points, name)).map(({ name, label, rare }) => ({
        label,
        values: column(points, name),
        sparse: rare,
      })),
    })).filter(({ series }) => series.length > 0), [points]);
  if (points.length === 0) return <p class="quiet">They come with the first steps of the training.</p>;
  return (
    <>
      {part !== null && (
        <p>
          Steps {part.from.toLocaleString()} to {part.to.toLocaleString()}.{" "}
          <button type="button" class="small" onClick={() => setPart(null)}>Show the whole run</button>
        </p>
      )}
      <div class="charts" data-points={points.length}>
        {shown.map((chart) => (
          <Chart
            key={chart.title}
            x={x}
            {...chart}
            unitX="step"
            onRange={(from, to) => setPart({ from: Math.floor(from), to: Math.ceil(to) })}
          />
        ))}
      </div>
      <p class="quiet small">By optimizer step. Drag over a chart to see a part of it more closely.</p>
    </>
  );
}
