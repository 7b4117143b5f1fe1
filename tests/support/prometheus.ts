/** A strict parser of the Prometheus text format, and of the metric names in a query. */

export interface PrometheusMetric {
  type: string;
  help: string;
  samples: { labels: Record<string, string>; value: number }[];
}

/** Parses an exposition. Throws on what Prometheus would reject or silently merge. */
export function parsePrometheus(text: string): Map<string, PrometheusMetric> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const metrics = new Map<string, PrometheusMetric>();
  const seen = new Set<string>();
  let current = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const help = /^# HELP ([a-z_:]+) (.+)$/.exec(line);
    const type = /^# TYPE ([a-z_:]+) (counter|gauge|histogram|summary)$/.exec(line);
    const sample = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (help !== null) {
      const [, name = "", text = ""] = help;
      if (metrics.has(name)) throw new Error(`${name} is described twice`);
      metrics.set(name, { type: "", help: text, samples: [] });
      current = name;
    } else if (type !== null) {
      const [, name = "", kind = ""] = type;
      const metric = metrics.get(name);
      if (name !== current || metric === undefined) {
        throw new Error(`TYPE of ${name} does not follow its HELP`);
      }
      metric.type = kind;
    } else if (sample !== null) {
      const [, name = "", labels = "", number = ""] = sample;
      const metric = metrics.get(name);
      if (name !== current || metric === undefined) throw new Error(`${line} does not follow its TYPE`);
      const value = Number(number);
      if (!Number.isFinite(value)) throw new Error(`${line}: not a number`);
      if (seen.has(`${name}{${labels}}`)) throw new Error(`${line}: a second sample`);
      seen.add(`${name}{${labels}}`);
      metric.samples.push({ labels: parseLabels(labels), value });
    } else throw new Error(`not a line of the format: ${line}`);
  }
  return metrics;
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const [whole, name = "", value = ""] =
      /^([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/.exec(rest) ??
        [];
    if (whole === undefined) throw new Error(`not labels: ${text}`);
    labels[name] = value.replace(/\\([\\"n])/g, (_, char) => char === "n" ? "\n" : char);
    rest = rest.slice(whole.length);
  }
  return labels;
}

/** The names in a query that start with `tunebase_`. */
export const metricsIn = (query: string): string[] => query.match(/\btunebase_[a-z0-9_]+/g) ?? [];

/** The labels that a query selects or groups by. */
export function labelsIn(query: string): string[] {
  const selected = [...query.matchAll(/\{([^{}]*)\}/g)].flatMap(([, matchers = ""]) =>
    [...matchers.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)/g)].map(([, label = ""]) => label)
  );
  const grouped = [...query.matchAll(/\bby\s*\(([^)]*)\)/g)].flatMap(([, labels = ""]) =>
    labels.split(",").map((label) => label.trim())
  );
  return [...selected, ...grouped];
}
