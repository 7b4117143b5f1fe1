/**
 * The metrics of a logged optimizer step, declared once: the source of the protocol's message, the OpenAPI object, the
 * trainer's model and columns, and the charts. `tests/database/contracts_test.ts` compares them with `tunebase.metrics`.
 */
export interface MetricField {
  unit: "step" | "epochs" | "nats per token" | "plain number" | "tokens per second" | "percent" | "GiB";
  /** false: present in every step. */
  nullable: boolean;
  min?: number;
  max?: number;
  integer?: boolean;
  /** Its column in the result file; OpenAI's name where OpenAI has one. */
  csv?: string;
  /** Its chart and label; `rare`: logged at only a few steps. */
  chart?: { title: string; label: string; rare?: boolean };
}

export const metrics = {
  // A Postgres integer; a million epochs.
  step: { unit: "step", nullable: false, min: 1, max: 2 ** 31 - 1, integer: true, csv: "step" },
  epoch: { unit: "epochs", nullable: false, min: 0, max: 1e6, csv: "epoch" },
  training_loss: {
    unit: "nats per token",
    nullable: true,
    csv: "train_loss",
    chart: { title: "Loss", label: "training" },
  },
  validation_loss: {
    unit: "nats per token",
    nullable: true,
    csv: "valid_loss",
    chart: { title: "Loss", label: "validation", rare: true },
  },
  learning_rate: {
    unit: "plain number",
    nullable: true,
    csv: "learning_rate",
    chart: { title: "Learning rate", label: "learning rate" },
  },
  gradient_norm: {
    unit: "plain number",
    nullable: true,
    csv: "gradient_norm",
    chart: { title: "Gradient norm", label: "gradient norm" },
  },
  tokens_per_second: {
    unit: "tokens per second",
    nullable: true,
    csv: "tokens_per_second",
    chart: { title: "Tokens per second", label: "tokens per second" },
  },
  gpu_utilization: {
    unit: "percent",
    nullable: true,
    min: 0,
    max: 100,
    chart: { title: "GPU use, %", label: "GPU use" },
  },
  gpu_memory_gb: {
    unit: "GiB",
    nullable: true,
    min: 0,
    chart: { title: "GPU memory, GiB", label: "GPU memory" },
  },
} as const satisfies Record<string, MetricField>;
export type MetricName = keyof typeof metrics;

const isMetric = (name: string): name is MetricName => name in metrics;
export const metricNames: MetricName[] = Object.keys(metrics).filter(isMetric);
/** A declaration with all optional properties, which the literal types of `metrics` lack. */
export const metricField = (name: MetricName): MetricField => metrics[name];

/** OpenAI's columns come first. The trainer does not compute accuracies, so those are empty. */
export const csvColumns = [
  "step",
  "train_loss",
  "train_accuracy",
  "valid_loss",
  "valid_mean_token_accuracy",
  ...metricNames.flatMap((name) => metricField(name).csv ?? [])
    .filter((name) => !["step", "train_loss", "valid_loss"].includes(name)),
];

export interface Chart {
  title: string;
  fromZero: boolean;
  series: { name: MetricName; label: string; rare: boolean }[];
}
/** The charts, in order of their first metric. Only loss charts do not start at zero. */
export const charts: Chart[] = metricNames.reduce<Chart[]>((made, name) => {
  const chart = metricField(name).chart;
  if (chart === undefined) return made;
  const series = { name, label: chart.label, rare: chart.rare ?? false };
  const known = made.find(({ title }) => title === chart.title);
  if (known === undefined) {
    made.push({
      title: chart.title,
      fromZero: metricField(name).unit !== "nats per token",
      series: [series],
    });
  } else known.series.push(series);
  return made;
}, []);
