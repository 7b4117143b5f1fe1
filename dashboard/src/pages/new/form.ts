/** The form for a new fine-tune: its fields, and the API's body that they make. */
import {
  apiFields,
  apiName,
  field,
  type HyperparameterField,
} from "../../../../supabase/functions/_shared/contracts/hyperparameters.ts";
import type { paths } from "../../../../client/api.d.ts";
import type { Schemas } from "../../../../client/mod.ts";
import { RefusedError } from "../../../../client/mod.ts";

export type Body = paths["/fine_tuning/jobs"]["post"]["requestBody"]["content"][
  "application/json"
];
type Hyperparameters = NonNullable<Body["hyperparameters"]>;
type Wandb = NonNullable<Body["integrations"]>[number]["wandb"];

/** As typed; an empty text is "auto". */
export interface Form {
  training_file: string | null;
  validation_file: string | null;
  model: string | null;
  /** By the API's names; of a list, with commas between. */
  settings: Record<string, string>;
  suffix: string;
  seed: string;
  spend_cap_usd: string;
  /** A `key=value` per line. */
  metadata: string;
  wandb: Wandb | null;
  wait: boolean;
}

/** A declared hyperparameter, by its name in the API. */
export type SettingField = HyperparameterField & { name: string };

/** All but the multiplier: the form sets the learning rate itself. */
export const allSettings: SettingField[] = apiFields
  .filter((name) => name !== "learning_rate_multiplier")
  .map((name) => ({ ...field(name), name: apiName(name) }));
export const mainSettings = allSettings.filter(({ main }) => main);
export const moreSettings = allSettings.filter(({ main, method }) => !main && method === undefined);
export const preferenceSettings = allSettings.filter(({ method }) => method === "dpo");

const wandbMembers = ["project", "entity", "name", "tags"] as const;

/** The form as an address fills it in: a retry's settings. */
export function readForm(query: URLSearchParams): Form {
  const project = query.get("wandb_project");
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
    wait: query.get("auto_start") === "false",
  };
}

/** The address that fills the form in with everything that this job was made with, and these changes. */
export function retryQuery(
  job: Schemas["FineTuningJob"],
  changes: Record<string, string> | null,
): Record<string, string> {
  const own = allSettings.flatMap(({ name }) => {
    const value = job.hyperparameters[name];
    return value === undefined ? [] : [[name, String(value)] as const];
  });
  const wandb = job.integrations?.[0]?.wandb;
  return {
    model: job.model,
    training_file: job.training_file,
    ...(job.validation_file === null ? {} : { validation_file: job.validation_file }),
    ...(job.suffix === null ? {} : { suffix: job.suffix }),
    ...(job.spend_cap_usd === null ? {} : { spend_cap_usd: String(job.spend_cap_usd) }),
    ...(job.auto_start ? {} : { auto_start: "false" }),
    seed: String(job.seed),
    metadata: Object.entries(job.metadata ?? {}).map(([key, value]) => `${key}=${value}`).join("\n"),
    ...Object.fromEntries(own),
    ...Object.fromEntries(wandbMembers.flatMap((name) => {
      const value = wandb?.[name] ?? "";
      const text = typeof value === "string" ? value : value.join("\n");
      return text === "" ? [] : [[`wandb_${name}`, text]];
    })),
    ...changes,
  };
}

const number = (text: string) => text.trim() === "" ? undefined : Number(text);

/** The text as the API takes it; undefined is "auto". */
function settingValue(of: HyperparameterField, text: string): unknown {
  switch (of.kind) {
    case "number":
    case "integer":
      return number(text);
    case "switch":
      return text === "" ? undefined : text === "true";
    case "choice":
      return text === "" ? undefined : text;
    case "list":
      return text === "" ? undefined : text.split(",");
  }
}

/** The lines `key=value`; what has no `=` is a key without a value. */
function metadataOf(text: string): Record<string, string> {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
  }));
}

/** The body; null while data or model are missing. `format`: of the data's rows, which says what the method is. */
export function bodyOf(form: Form, format: string | null): Body | null {
  const { training_file, validation_file, model, suffix, wait } = form;
  if (training_file === null || model === null) return null;
  const method = format === "preference" ? "dpo" : "supervised";
  const hyperparameters = Object.fromEntries(
    allSettings.filter((setting) => setting.method === undefined || setting.method === method)
      .map((
        setting,
      ) => [
        setting.name,
        settingValue(setting, form.settings[setting.name] ?? ""),
      ])
      .filter(([, value]) => value !== undefined),
  ) as Hyperparameters;
  const [seed, cap] = [number(form.seed), number(form.spend_cap_usd)];
  const metadata = metadataOf(form.metadata);
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
    ...(form.wandb === null ? {} : { integrations: [{ type: "wandb" as const, wandb: form.wandb }] }),
    ...(cap === undefined ? {} : { spend_cap_usd: cap }),
    ...(wait ? { auto_start: false } : {}),
  };
}

/** What the API says of a field, by its name in the body; and what it says of none that the form has. */
export function problemsByField(
  error: Error | null,
): { fields: Map<string, string>; rest: Error | null } {
  const fields = new Map<string, string>();
  if (!(error instanceof RefusedError)) return { fields, rest: error };
  const known = new Set<string>([
    ...allSettings.map(({ name }) => name),
    "suffix",
    "seed",
    "spend_cap_usd",
    "metadata",
  ]);
  const problems: NonNullable<Schemas["Problem"]["errors"]> = error.problem.errors ?? [];
  for (const { param, message } of problems) {
    const name = param?.split(".").at(-1) ?? "";
    if (known.has(name)) {
      fields.set(name, message.replace(/^[\w.]+\.(\w+)/, "$1"));
    }
  }
  return { fields, rest: fields.size > 0 ? null : error };
}
