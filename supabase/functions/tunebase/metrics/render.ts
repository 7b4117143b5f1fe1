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

/** Adds a 0 for each label value that is always exported, in each combination of the other labels. */
function withZeros({ always = {}, labels = [] }: InstallationMetric, samples: Sample[]): Sample[] {
  const all = [...samples];
  for (const [label, values] of Object.entries(always)) {
    const others = labels.filter((one) => one !== label);
    const groups = new Map(samples.map((sample) => [others.map((one) => sample[one]).join("\0"), sample]));
    // Without other labels there is one group, even if nothing happened.
    if (others.length === 0) groups.set("", { value: 0 });
    for (const group of groups.values()) {
      const inGroup = (sample: Sample) => others.every((one) => sample[one] === group[one]);
      const missing = values.filter((value) => !samples.some((one) => one[label] === value && inGroup(one)));
      all.push(...missing.map((value): Sample => ({ ...group, [label]: value, value: 0 })));
    }
  }
  return all;
}

function renderSample(name: string, { labels = [] }: InstallationMetric, sample: Sample): string {
  const pairs = labels.map((label) => `${label}="${escapeLabel(String(sample[label] ?? ""))}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${sample.value}`;
}

const escapeHelp = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const escapeLabel = (text: string) => escapeHelp(text).replaceAll('"', '\\"');
