/** The charts of a run. Drag over one for a part of it in more detail. */
import { useMemo } from "preact/hooks";
import type { Point } from "../../data.ts";
import { figure, short } from "../../format.ts";
import { column, hasAny } from "../../metrics.ts";
import { Chart } from "../../ui/chart.tsx";
import type { Range } from "./use_job.ts";

const charts: {
  title: string;
  show: (value: number) => string;
  names: [keyof Point, string][];
  fromZero?: boolean;
}[] = [
  { title: "Loss", show: figure, names: [["training_loss", "training"], ["validation_loss", "validation"]] },
  { title: "Learning rate", show: figure, names: [["learning_rate", "learning rate"]], fromZero: true },
  { title: "Gradient norm", show: figure, names: [["gradient_norm", "gradient norm"]], fromZero: true },
  {
    title: "Tokens a second",
    show: short,
    names: [["tokens_per_second", "tokens a second"]],
    fromZero: true,
  },
  { title: "GPU use, %", show: figure, names: [["gpu_utilization", "GPU use"]], fromZero: true },
  { title: "GPU memory, GiB", show: figure, names: [["gpu_memory_gb", "GPU memory"]], fromZero: true },
];

export function Charts({ points, part, setPart }: {
  points: Point[];
  part: Range | null;
  setPart: (part: Range | null) => void;
}) {
  const x = useMemo(() => points.map(({ step }) => step), [points]);
  const shown = useMemo(() =>
    charts.map(({ names, ...chart }) => ({
      ...chart,
      series: names.filter(([name]) => hasAny(points, name)).map(([name, label]) => ({
        label,
        values: column(points, name),
        sparse: name === "validation_loss",
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
