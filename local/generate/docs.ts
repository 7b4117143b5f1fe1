/** Documentation tables generated from the contracts and the tests, between markers in hand-written pages. */
import { loadCatalog } from "../../deploy/catalog.ts";
import { evaluationScores, scoreNames } from "../../supabase/functions/_shared/contracts/evaluation.ts";
import {
  apiFields,
  apiName,
  field,
  type HyperparameterField,
  type Name,
  type NumberField,
  trainerNames,
} from "../../supabase/functions/_shared/contracts/hyperparameters.ts";
import {
  installationMetric,
  installationMetricNames,
} from "../../supabase/functions/_shared/contracts/installation_metrics.ts";
import {
  type MetricField,
  metricField,
  metricNames,
} from "../../supabase/functions/_shared/contracts/metrics.ts";
import type { Route } from "../../supabase/functions/tunebase/routes/define.ts";
import { allRoutes } from "../../supabase/functions/tunebase/routes/index.ts";
import { claimRows, proofs } from "./reliability.ts";
import { scopeLabels, scopes } from "../../supabase/functions/_shared/contracts/scopes.ts";

/** The unit to append to a metric's name; none if the name includes it. */
const metricUnits: Record<MetricField["unit"], string> = {
  step: "",
  epochs: "",
  "nats per token": " (nats per token)",
  "plain number": "",
  "tokens per second": "",
  percent: " (percent)",
  GiB: " (GiB)",
};

const routes = await allRoutes();
const catalog = await loadCatalog();
const provenBy = await proofs();
const callers: Partial<Record<Route["scope"], string>> = {
  none: "public",
  any: "any",
  user: "a user",
  operator: "the operator",
};

const tables: Record<string, () => string> = {
  "api hyperparameters": () =>
    table(
      ["name", "allowed", 'default, or "auto"'],
      apiFields.map((name) => [`\`${apiName(name)}\``, allowed(name), unset(name)]),
    ),
  "trainer hyperparameters": () =>
    table(
      ["field", "allowed (default)"],
      trainerNames.map((name) => [
        [name, ...(field(name).aliases ?? [])].map((one) => `\`${one}\``).join(", "),
        `${allowed(name)} (${leftOut(field(name))})`,
      ]),
    ),
  evaluation: () =>
    table(
      ["score", "meaning"],
      scoreNames.map((name) => [`\`${name}\``, evaluationScores[name].description]),
    ),
  metrics: () =>
    metricNames.map((name) => `\`${name}\`${metricUnits[metricField(name).unit]}`).join(", ") + ".\n",
  "installation metrics": () =>
    table(
      ["metric", "type", "labels", "meaning"],
      installationMetricNames.map((name) => {
        const { type, help, labels = [] } = installationMetric(name);
        return [`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), help];
      }),
    ),
  routes: () =>
    table(
      ["route", "description", "scope"],
      routes.map(({ method, path, summary, description, scope }) => [
        `\`${method} ${path}\``,
        [summary, description].filter((text) => text !== undefined).join(". ").replace(/\.$/, ""),
        callers[scope] ?? `\`${scope}\``,
      ]),
    ),
  guarantees: () => table(["guarantee", "test"], claimRows("guarantees", provenBy)),
  invariants: () => table(["invariant", "test"], claimRows("invariants", provenBy)),
  "RunPod failures": () => table(["failure", "test"], claimRows("runpodFailures", provenBy)),
  "field reports": () => table(["report", "test"], claimRows("fieldReports", provenBy)),
  "field reports of other services": () => table(["report", "test"], claimRows("otherReports", provenBy)),
  "base models": () =>
    table(
      ["ID", "model", "license", "parameters", "context", "training GPUs", "inference GPUs"],
      catalog.map(({ id, source, license, gated, architecture, training, inference }) => [
        `\`${id}\``,
        source,
        gated ? `${license}, gated` : license,
        billions(architecture.parameters),
        architecture.context.toLocaleString("en-US"),
        training.pools.join(", "),
        inference === undefined
          ? ""
          : `${inference.gpus === 1 ? "" : `${inference.gpus} × `}${inference.pools.join(", ")}`,
      ]),
    ),
  scopes: () => table(["scope", "permission"], scopes.map((scope) => [`\`${scope}\``, scopeLabels[scope]])),
};

/** `page` with each table between `<!-- generated: NAME -->` and `<!-- end -->` regenerated. */
export function withTables(page: string): string {
  return page.replace(/(<!-- generated: (.+?) -->\n)[^]*?(<!-- end -->)/g, (_, start, name, end) => {
    const made = tables[name];
    if (made === undefined) throw new Error(`no table is called ${name}; there are ${Object.keys(tables)}`);
    return `${start}\n${made()}\n${end}`;
  });
}

const billions = (count: number) =>
  count < 1e9 ? `${Math.round(count / 1e6)}M` : `${(count / 1e9).toFixed(1)}B`;

const table = (head: string[], rows: string[][]) =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |\n`).join("");

function allowed(name: Name): string {
  const of = field(name);
  if (of.docs?.allowed !== undefined) return of.docs.allowed;
  switch (of.kind) {
    case "switch":
      return "true, false";
    case "choice":
      return of.values.map((value) => JSON.stringify(value)).join(", ");
    case "list":
      return `a list of ${of.values.map((value) => JSON.stringify(value)).join(", ")}`;
    case "number":
    case "integer":
      return of.unit === undefined ? range(of) : `${range(of)} ${of.unit}`;
  }
}
function range({ min, max, above }: NumberField): string {
  if (max === undefined) return above ? `above ${figure(min)}` : `${figure(min)} or more`;
  if (above) return `above ${figure(min)}, up to ${figure(max)}`;
  return `${figure(min)}${figure(min).includes("e") ? " to " : "–"}${figure(max)}`;
}
const unset = (name: Name) => {
  const { docs, fallback } = field(name);
  return docs?.unset ?? `model default, else ${fallback}`;
};
const leftOut = ({ leftOut }: HyperparameterField) =>
  leftOut === undefined ? "required" : `\`${JSON.stringify(leftOut)}\``;
/** 0.00001 as 1e-5. */
const figure = (value: number) =>
  value !== 0 && Math.abs(value) < 0.01 ? value.toExponential() : String(value);
