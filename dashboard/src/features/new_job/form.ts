/** The form for a new job: its state, its URL parameters and the request body it makes. */
import type { paths } from "../../../../client/api.d.ts";
import { ApiError, type Schemas } from "../../../../client/mod.ts";
import {
  apiFields,
  apiName,
  field,
  type HyperparameterField,
} from "../../../../supabase/functions/_shared/contracts/hyperparameters.ts";
import { findIntegration } from "../../../../supabase/functions/_shared/contracts/integrations.ts";

export type JobRequest = paths["/fine_tuning/jobs"]["post"]["requestBody"]["content"][
  "application/json"
];
type Hyperparameters = NonNullable<JobRequest["hyperparameters"]>;
type Integration = NonNullable<JobRequest["integrations"]>[number];
type Wandb = Extract<Integration, { type: "wandb" }>["wandb"];

/** The fields as typed; an empty text means "auto". */
export interface JobForm {
  training_file: string | null;
  validation_file: string | null;
  model: string | null;
  /** By the API's names; lists are comma-separated. */
  settings: Record<string, string>;
  suffix: string;
  seed: string;
  spend_cap_usd: string;
  /** One `key=value` per line. */
  metadata: string;
  wandb: Wandb | null;
  huggingface: { repo: string; private: boolean } | null;
  /** Create the job without starting it. */
  wait: boolean;
}

/** A hyperparameter with its name in the API. */
export type SettingField = HyperparameterField & { name: string };

/** All hyperparameters except the learning rate multiplier: the form sets the learning rate directly. */
export const allSettings: SettingField[] = apiFields
  .filter((name) => name !== "learning_rate_multiplier")
  .map((name) => ({ ...field(name), name: apiName(name) }));
export const mainSettings = allSettings.filter(({ main }) => main);
export const advancedSettings = allSettings.filter(({ main, method }) => !main && method === undefined);
export const preferenceSettings = allSettings.filter(({ method }) => method === "dpo");

const wandbFields = ["project", "entity", "name", "tags"] as const;

/** The form as filled in by URL parameters, such as those of a retry. */
export function readForm(query: URLSearchParams): JobForm {
  const project = query.get("wandb_project");
  const repo = query.get("hub_repo");
  return {
    training_file: query.get("training_file"),
    validation_file: query.get("validation_file"),
    model: query.get("model"),
    settings: Object.fromEntries(allSettings.flatMap(({ name }) => {
      const value = query.get(name);
      return value === null ? [] : [[name, value]];
    })),
    suffix: query.get("suffix") ?? "",
    seed: query.get("seed") ?? "",
    spend_cap_usd: query.get("spend_cap_usd") ?? "",
    metadata: query.get("metadata") ?? "",
    wandb: project === null ? null : {
      project,
      entity: query.get("wandb_entity"),
      name: query.get("wandb_name"),
      tags: query.getAll("wandb_tags").flatMap((tags) => tags.split("\n"))
        .filter(Boolean),
    },
    huggingface: repo === null ? null : { repo, private: query.get("hub_public") !== "true" },
    wait: query.get("auto_start") === "false",
  };
}

/** URL parameters that fill the form with a job's settings, except for the given changes. */
export function retryQuery(
  job: Schemas["FineTuningJob"],
  changes: Record<string, string> | null,
): Record<string, string> {
  const hyperparameters = allSettings.flatMap(({ name }) => {
    const value = job.hyperparameters[name];
    return value === undefined ? [] : [[name, String(value)] as const];
  });
  const wandb = findIntegration(job, "wandb")?.wandb;
  const hub = findIntegration(job, "huggingface")?.huggingface;
  return {
    model: job.model,
    training_file: job.training_file,
    ...(job.validation_file === null ? {} : { validation_file: job.validation_file }),
    ...(job.suffix === null ? {} : { suffix: job.suffix }),
    ...(job.spend_cap_usd === null ? {} : { spend_cap_usd: String(job.spend_cap_usd) }),
    ...(job.auto_start ? {} : { auto_start: "false" }),
    seed: String(job.seed),
    metadata: Object.entries(job.metadata ?? {}).map(([key, value]) => `${key}=${value}`).join("\n"),
    ...Object.fromEntries(hyperparameters),
    ...Object.fromEntries(wandbFields.flatMap((name) => {
      const value = wandb?.[name] ?? "";
      const text = typeof value === "string" ? value : value.join("\n");
      return text === "" ? [] : [[`wandb_${name}`, text]];
    })),
    ...(hub === undefined ? {} : { hub_repo: hub.repo }),
    ...(hub?.private === false ? { hub_public: "true" } : {}),
    ...changes,
  };
}

const parseNumber = (text: string) => text.trim() === "" ? undefined : Number(text);

/** The value for the API; undefined means "auto". */
function parseSetting(of: HyperparameterField, text: string): unknown {
  switch (of.kind) {
    case "number":
    case "integer":
      return parseNumber(text);
    case "switch":
      return text === "" ? undefined : text === "true";
    case "choice":
      return text === "" ? undefined : text;
    case "list":
      return text === "" ? undefined : text.split(",");
  }
}

/** Parses `key=value` lines. A line without `=` is a key with an empty value. */
function parseMetadata(text: string): Record<string, string> {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
  }));
}

/** The request body, or null while the data or the model is missing. `format` of the rows decides the method. */
export function buildJobRequest(
  form: JobForm,
  format: string | null,
): JobRequest | null {
  const { training_file, validation_file, model, suffix, wait } = form;
  if (training_file === null || model === null) return null;
  const method = format === "preference" ? "dpo" : "supervised";
  const hyperparameters = Object.fromEntries(
    allSettings
      .filter((setting) => setting.method === undefined || setting.method === method)
      .map((
        setting,
      ) => [
        setting.name,
        parseSetting(setting, form.settings[setting.name] ?? ""),
      ])
      .filter(([, value]) => value !== undefined),
  ) as Hyperparameters;
  const seed = parseNumber(form.seed);
  const spendCap = parseNumber(form.spend_cap_usd);
  const metadata = parseMetadata(form.metadata);
  const integrations: Integration[] = [
    ...(form.wandb === null ? [] : [{ type: "wandb" as const, wandb: form.wandb }]),
    ...(form.huggingface === null ? [] : [{ type: "huggingface" as const, huggingface: form.huggingface }]),
  ];
  return {
    model,
    training_file,
    ...(validation_file === null ? {} : { validation_file }),
    method: method === "dpo"
      ? { type: "dpo", dpo: { hyperparameters } }
      : { type: "supervised", supervised: { hyperparameters } },
    ...(suffix.trim() === "" ? {} : { suffix: suffix.trim() }),
    ...(seed === undefined ? {} : { seed }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(integrations.length === 0 ? {} : { integrations }),
    ...(spendCap === undefined ? {} : { spend_cap_usd: spendCap }),
    ...(wait ? { auto_start: false } : {}),
  };
}

export const hubRepositoryLabel = "Hugging Face repository";

/** Splits an API error into messages for the form's fields; `other` is an error that concerns none of them. */
export function errorsByField(
  error: Error | null,
): { fields: Map<string, string>; other: Error | null } {
  const fields = new Map<string, string>();
  if (!(error instanceof ApiError)) return { fields, other: error };
  const labels = new Map<string, string>([
    ...allSettings.map(({ name, label }) => [name, label] as const),
    ["suffix", "Name"],
    ["seed", "Seed"],
    ["spend_cap_usd", "Spend cap"],
    ["metadata", "Metadata"],
    ["repo", hubRepositoryLabel],
  ]);
  const problems: NonNullable<Schemas["Problem"]["errors"]> = error.problem.errors ?? [];
  for (const { param, message } of problems) {
    const name = param?.split(".").at(-1) ?? "";
    const label = labels.get(name);
    // "method.dpo.hyperparameters.beta = 3: must …" as "Beta = 3: must …"
    if (label !== undefined) fields.set(name, message.replace(/^[\w.]+/, label));
  }
  return { fields, other: fields.size > 0 ? null : error };
}
