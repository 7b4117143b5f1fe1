/** The Prometheus text format (0.0.4). */
import {
  type InstallationMetric,
  installationMetric,
  type InstallationMetricName,
  installationMetricNames,
} from "../../_shared/contracts/installation_metrics.ts";

/** `value`, and the labels under their names. */
export type Sample = { value: number; [label: string]: string | number };
export type Samples = Partial<Record<InstallationMetricName, Sample[]>>;

export const contentType = "text/plain; version=0.0.4; charset=utf-8";

/** All metrics in the order of their declaration; those without samples have only their description. */
export function renderMetrics(samples: Samples): string {
  return installationMetricNames.map((name) => {
    const metric = installationMetric(name);
    return [
      `# HELP ${name} ${escapeHelp(metric.help)}`,
      `# TYPE ${name} ${metric.type}`,
      ...withZeros(metric, samples[name] ?? []).map((sample) => renderSample(name, metric, sample)),
    ].join("\n") + "\n";
  }).join("");
}

/** Adds a 0 for each label value that is always exported. */
function withZeros({ always = {} }: InstallationMetric, samples: Sample[]): Sample[] {
  const missing = Object.entries(always).flatMap(([label, values]) =>
    values.filter((value) => !samples.some((sample) => sample[label] === value))
      .map((value): Sample => ({ [label]: value, value: 0 }))
  );
  return [...samples, ...missing];
}

function renderSample(name: string, { labels = [] }: InstallationMetric, sample: Sample): string {
  const pairs = labels.map((label) => `${label}="${escapeLabel(String(sample[label] ?? ""))}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${sample.value}`;
}

const escapeHelp = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const escapeLabel = (text: string) => escapeHelp(text).replaceAll('"', '\\"');
