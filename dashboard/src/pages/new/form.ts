/** The form for a new fine-tune: its fields, and the API's body that they make. */
import type { paths } from "../../../../client/api.d.ts";
import type { Schemas } from "../../../../client/mod.ts";
import { RefusedError } from "../../../../client/mod.ts";

export type Body = paths["/fine_tuning/jobs"]["post"]["requestBody"]["content"]["application/json"];
type Hyperparameters = NonNullable<Body["hyperparameters"]>;
export type Setting = Exclude<keyof Hyperparameters, "learning_rate_multiplier" | "export">;

/** As typed; an empty text is "auto". */
export interface Form {
  training_file: string | null;
  validation_file: string | null;
  model: string | null;
  settings: Partial<Record<Setting, string>>;
  suffix: string;
  seed: string;
  spend_cap_usd: string;
  wait: boolean;
  /** What is to be made beside the adapter. */
  exports: Export[];
}

/** The whole model with the adapter in it, in the forms that it can have. */
export const exportLabels = {
  merged: "merged: the weights in bf16, for transformers and vLLM",
  gguf: "GGUF in Q8_0, for llama.cpp: of a Llama, a Qwen 2 or a Qwen 3",
} as const;
export type Export = keyof typeof exportLabels;
export const exportNames = Object.keys(exportLabels) as Export[];

export interface SettingField {
  name: Setting;
  label: string;
  hint: string;
  min: number;
  max: number;
  step: number | "any";
}

export const mainSettings: SettingField[] = [
  { name: "n_epochs", label: "Epochs", hint: "How often it reads all rows.", min: 1, max: 20, step: 1 },
  {
    name: "batch_size",
    label: "Batch size",
    hint: "Rows for each step. Fewer need less memory and make more steps.",
    min: 1,
    max: 64,
    step: 1,
  },
  {
    name: "learning_rate",
    label: "Learning rate",
    hint: "How far a step goes. Too high and the loss jumps.",
    min: 1e-5,
    max: 1e-3,
    step: "any",
  },
];
export const moreSettings: SettingField[] = [
  {
    name: "lora_rank",
    label: "LoRA rank",
    hint: "How much the adapter can hold.",
    min: 4,
    max: 128,
    step: 1,
  },
  {
    name: "lora_alpha",
    label: "LoRA alpha",
    hint: "Its weight; twice the rank is usual.",
    min: 8,
    max: 256,
    step: 1,
  },
  {
    name: "lora_dropout",
    label: "LoRA dropout",
    hint: "0 to 0.1; more against learning by heart.",
    min: 0,
    max: 0.1,
    step: "any",
  },
  {
    name: "max_length",
    label: "Longest row, in tokens",
    hint: "What is longer loses its oldest part.",
    min: 1,
    max: 1_000_000,
    step: 1,
  },
  {
    name: "warmup_steps",
    label: "Warm-up steps",
    hint: "Steps until the full learning rate.",
    min: 0,
    max: 100_000,
    step: 1,
  },
  {
    name: "weight_decay",
    label: "Weight decay",
    hint: "Pulls the weights towards 0.",
    min: 0,
    max: 1,
    step: "any",
  },
];
export const preferenceSettings: SettingField[] = [
  {
    name: "beta",
    label: "Beta",
    hint: "More holds it closer to the model it was; above 0.",
    min: 0,
    max: 2,
    step: "any",
  },
];
export const allSettings = [...mainSettings, ...moreSettings, ...preferenceSettings];

/** The form as an address fills it in: a retry's settings. */
export function readForm(query: URLSearchParams): Form {
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
    wait: false,
    exports: exportNames.filter((name) => query.get("export")?.split(",").includes(name)),
  };
}

const number = (text: string) => text.trim() === "" ? undefined : Number(text);

/** The body; null while data or model are missing. `format`: of the data's rows, which says what the method is. */
export function bodyOf(form: Form, format: string | null): Body | null {
  const { training_file, validation_file, model, suffix, wait } = form;
  if (training_file === null || model === null) return null;
  const hyperparameters = Object.fromEntries(
    Object.entries(form.settings).flatMap(([name, text]) =>
      number(text) === undefined ? [] : [[name, number(text)]]
    ),
  ) as Hyperparameters;
  if (format !== "preference") delete hyperparameters.beta;
  if (form.exports.length > 0) hyperparameters.export = form.exports;
  const [seed, cap] = [number(form.seed), number(form.spend_cap_usd)];
  return {
    model,
    training_file,
    ...(validation_file === null ? {} : { validation_file }),
    method: format === "preference"
      ? { type: "dpo", dpo: { hyperparameters } }
      : { type: "supervised", supervised: { hyperparameters } },
    ...(suffix.trim() === "" ? {} : { suffix: suffix.trim() }),
    ...(seed === undefined ? {} : { seed }),
    ...(cap === undefined ? {} : { spend_cap_usd: cap }),
    ...(wait ? { auto_start: false } : {}),
  };
}

/** What the API says of a field, by its name in the body; and what it says of none that the form has. */
export function problemsByField(error: Error | null): { fields: Map<string, string>; rest: Error | null } {
  const fields = new Map<string, string>();
  if (!(error instanceof RefusedError)) return { fields, rest: error };
  const known = new Set<string>([...allSettings.map(({ name }) => name), "suffix", "seed", "spend_cap_usd"]);
  const problems: NonNullable<Schemas["Problem"]["errors"]> = error.problem.errors ?? [];
  for (const { param, message } of problems) {
    const name = param?.split(".").at(-1) ?? "";
    if (known.has(name)) fields.set(name, message.replace(/^[\w.]+\.(\w+)/, "$1"));
  }
  return { fields, rest: fields.size > 0 ? null : error };
}
