/**
 * The single declaration of every hyperparameter. The API's and the protocol's schemas (`schemas.ts`), the trainer's model
 * (`trainer/tunebase_trainer/contract.py`), the dashboard's form, the CLI's options, and the tables in `docs/api.md` and
 * `trainer/README.md` all come from here. It imports nothing, because the dashboard loads it.
 */

/** Supervised fine-tuning on one answer per row, or DPO on a preferred and a rejected one. */
export const trainingMethods = ["supervised", "dpo"] as const;
export type Method = (typeof trainingMethods)[number];

interface Common {
  /** The name in the API where it differs, to match OpenAI's. */
  api?: string;
  /** The API accepts "auto". */
  auto?: true;
  /** Exists on one side only. `trainer`: the API sets it through another field. `api`: it is resolved to another hyperparameter. */
  only?: "trainer" | "api";
  /** Only this method uses it. */
  method?: Method;
  /** The API's default when the model has none. Without it, the API derives the value from the request. */
  fallback?: number | string | null;
  /** The trainer's default. Without one, the trainer requires a value. */
  leftOut?: number | string | boolean | null | readonly string[];
  /** Older names, which the trainer still accepts. */
  aliases?: readonly string[];
  label: string;
  /** Shown below the form's field. */
  help: string;
  /** Shown in the main form instead of under "Advanced settings". */
  main?: true;
  /** The CLI option. Hyperparameters without one use `--set`. */
  cli?: { flag: string; value: string; help: string };
  /** Columns of the documentation tables, where they say more than the range and the default. */
  docs?: { allowed?: string; unset?: string };
}
export interface NumberField extends Common {
  kind: "number" | "integer";
  min: number;
  /** Without it, there is no maximum. */
  max?: number;
  /** The minimum is exclusive. */
  above?: true;
  nullable?: true;
  unit?: string;
}
interface ChoiceField extends Common {
  kind: "choice";
  values: readonly string[];
}
interface SwitchField extends Common {
  kind: "switch";
}
/** Any subset of the values. */
interface ListField extends Common {
  kind: "list";
  values: readonly string[];
  valueLabels: Record<string, string>;
}
export type HyperparameterField = NumberField | ChoiceField | SwitchField | ListField;

export const hyperparameters = {
  num_epochs: {
    kind: "integer",
    min: 1,
    max: 20,
    api: "n_epochs",
    auto: true,
    fallback: 3,
    aliases: ["epochs"],
    label: "Epochs",
    help: "Number of passes over the dataset.",
    main: true,
    cli: { flag: "--epochs", value: "n", help: "number of passes over the dataset, or auto" },
  },
  batch_size: {
    kind: "integer",
    min: 1,
    max: 64,
    unit: "rows",
    auto: true,
    fallback: 8,
    label: "Batch size",
    help: "Rows per optimizer step. Smaller batches need less memory but take more steps.",
    main: true,
    cli: { flag: "--batch-size", value: "n", help: "rows per optimizer step, or auto" },
  },
  learning_rate_multiplier: {
    kind: "number",
    min: 0,
    above: true,
    only: "api",
    auto: true,
    label: "Learning rate multiplier",
    help: "Scales the model's default learning rate.",
    docs: { unset: "1; multiplies the model default" },
  },
  learning_rate: {
    kind: "number",
    min: 1e-6,
    max: 1e-3,
    fallback: 2e-4,
    label: "Learning rate",
    help: "Step size of the optimizer. If it is too high, the loss spikes or diverges.",
    main: true,
    cli: { flag: "--learning-rate", value: "rate", help: "optimizer step size, such as 2e-4" },
    docs: { unset: "model default, else 2e-4; set this or the multiplier" },
  },
  lora_rank: {
    kind: "integer",
    min: 4,
    max: 128,
    fallback: 16,
    aliases: ["rank"],
    label: "LoRA rank",
    help: "Capacity of the adapter. Higher ranks learn more and need more memory.",
    cli: { flag: "--lora-rank", value: "n", help: "capacity of the adapter" },
  },
  lora_alpha: {
    kind: "integer",
    min: 8,
    max: 256,
    auto: true,
    aliases: ["alpha"],
    label: "LoRA alpha",
    help: "Scaling of the adapter. Typically twice the rank.",
    docs: { unset: "twice the rank; with rsLoRA, twice its square root" },
  },
  lora_dropout: {
    kind: "number",
    min: 0,
    max: 0.1,
    fallback: 0.05,
    leftOut: 0.05,
    aliases: ["dropout"],
    label: "LoRA dropout",
    help: "0–0.1. Higher values reduce overfitting.",
  },
  lora_targets: {
    kind: "choice",
    values: ["all-linear", "attention", "shared_expert", "experts"],
    fallback: "all-linear",
    leftOut: "all-linear",
    label: "LoRA targets",
    help: "Which layers the adapter trains.",
    docs: { unset: '`"all-linear"`; modules per architecture: `trainer/README.md`' },
  },
  lora_variant: {
    kind: "choice",
    values: ["lora", "dora", "pissa"],
    fallback: "lora",
    leftOut: "lora",
    label: "LoRA variant",
    help:
      "DoRA also trains magnitudes; PiSSA starts from the weights' principal directions. Both are slower.",
    docs: { unset: '`"lora"`; see [LoRA variants](#lora-variants)' },
  },
  quantization: {
    kind: "choice",
    values: ["auto", "nf4", "none"],
    fallback: "auto",
    leftOut: "auto",
    label: "Quantization",
    help:
      "Precision of the frozen base model: NF4 (4-bit) or none (bf16). bf16 is more accurate but needs more memory.",
    cli: {
      flag: "--quantization",
      value: "format",
      help: "precision of the base model: nf4, none (bf16), or auto",
    },
    docs: { unset: '`"none"` (bf16) if the base fits the GPUs, else `"nf4"`' },
  },
  use_rslora: {
    kind: "switch",
    auto: true,
    leftOut: false,
    label: "rsLoRA",
    help: "Scales by the square root of the rank. Recommended for ranks of 64 and above.",
    docs: { unset: "true from rank 64, unless you set `lora_alpha`" },
  },
  warmup_ratio: {
    kind: "number",
    min: 0,
    max: 0.5,
    unit: "of all steps",
    fallback: 0.05,
    leftOut: 0.05,
    label: "Warmup ratio",
    help: "Share of all steps over which the learning rate ramps up.",
    docs: { unset: "0.05" },
  },
  warmup_steps: {
    kind: "integer",
    min: 0,
    nullable: true,
    fallback: null,
    leftOut: null,
    label: "Warmup steps",
    help: "Steps over which the learning rate ramps up. Overrides the ratio.",
    docs: { unset: "none; set this or `warmup_ratio`" },
  },
  lr_schedule: {
    kind: "choice",
    values: ["linear", "cosine"],
    fallback: "linear",
    leftOut: "linear",
    label: "Learning rate schedule",
    help: "How the learning rate decays to 0 after warmup.",
    docs: { unset: '`"linear"`; both decay to 0 at the last step' },
  },
  weight_decay: {
    kind: "number",
    min: 0,
    max: 1,
    fallback: 0,
    leftOut: 0,
    label: "Weight decay",
    help: "Regularization that pulls weights toward 0.",
    docs: { unset: "0" },
  },
  max_grad_norm: {
    kind: "number",
    min: 0,
    max: 10,
    fallback: 1,
    leftOut: 1,
    label: "Max gradient norm",
    help: "Larger gradients are clipped. 0 disables clipping.",
    docs: { allowed: "0–10; 0 disables clipping", unset: "1" },
  },
  validation_split: {
    kind: "number",
    min: 0,
    max: 0.5,
    unit: "of the rows",
    auto: true,
    leftOut: 0,
    label: "Validation split",
    help: "Share of rows held out for validation when there is no validation file.",
    docs: { unset: "0.1; 0.05 from 1,000 rows; 0 below 50 rows or with a `validation_file`" },
  },
  eval_steps: {
    kind: "integer",
    min: 1,
    nullable: true,
    auto: true,
    fallback: null,
    leftOut: null,
    label: "Steps between validations",
    help: "How often validation loss is measured. It is also measured after the last step.",
    cli: { flag: "--eval-steps", value: "n", help: "validate every n steps, or auto" },
    docs: {
      unset: "about ten validations per run; fewer if the validation rows are many; at least one per epoch",
    },
  },
  early_stopping_patience: {
    kind: "integer",
    min: 0,
    max: 20,
    fallback: 3,
    leftOut: 0,
    label: "Early stopping patience",
    help:
      "Training stops after this many validations in a row without a lower validation loss. 0 disables it.",
    docs: { allowed: "0–20 validations; 0 disables it", unset: "3" },
  },
  max_length: {
    kind: "integer",
    min: 64,
    max: 131072,
    unit: "tokens",
    fallback: 2048,
    leftOut: 2048,
    label: "Max row length (tokens)",
    help: "Longer rows are truncated from the start.",
    cli: { flag: "--max-length", value: "tokens", help: "truncate rows longer than this" },
    docs: { unset: "2048, or the model's limit if lower" },
  },
  beta: {
    kind: "number",
    min: 0,
    max: 2,
    above: true,
    nullable: true,
    auto: true,
    method: "dpo",
    leftOut: null,
    label: "Beta",
    help: "Higher values keep the model closer to the reference. Must be positive.",
    docs: { unset: "0.1; `dpo` only" },
  },
  seed: {
    kind: "integer",
    min: 0,
    max: 2 ** 31 - 1,
    only: "trainer",
    leftOut: 42,
    label: "Seed",
    help: "The same seed gives the same shuffling and initialization.",
  },
  export: {
    kind: "list",
    values: ["merged", "gguf"],
    leftOut: [],
    label: "Export formats",
    help: "Formats to export in addition to the adapter.",
    valueLabels: {
      merged: "Merged model (bf16), for transformers and vLLM",
      gguf: "GGUF (Q8_0), for llama.cpp; Llama, Qwen 2 and Qwen 3 only",
    },
    docs: { unset: "`[]`, the adapter only" },
  },
} as const satisfies Record<string, HyperparameterField>;

type Declared = typeof hyperparameters;
export type Name = keyof Declared;
/** The trainer's hyperparameters, and those that the API accepts. */
export type TrainerName = { [N in Name]: Declared[N] extends { only: "api" } ? never : N }[Name];
export type ApiField = { [N in Name]: Declared[N] extends { only: "trainer" } ? never : N }[Name];
export type ApiNameOf<N extends Name> = Declared[N] extends { api: infer A extends string } ? A : N;
export type ApiName = ApiNameOf<ApiField>;

/** The value's type without null. */
type Plain<F> = F extends { kind: "number" | "integer" } ? number
  : F extends { kind: "switch" } ? boolean
  : F extends { kind: "choice"; values: readonly (infer V)[] } ? V
  : F extends { kind: "list"; values: readonly (infer V)[] } ? V[]
  : never;
export type Value<N extends Name> =
  | Plain<Declared[N]>
  | (Declared[N] extends { nullable: true } ? null : never);
/** The type that the API accepts. */
export type Asked<N extends Name> =
  | Value<N>
  | (Declared[N] extends { auto: true } ? "auto" : never);

const isName = (name: string): name is Name => name in hyperparameters;
/** A declaration with its optional fields, which the literal types of `hyperparameters` lack. */
export const field = (name: Name): HyperparameterField => hyperparameters[name];
export const names: Name[] = Object.keys(hyperparameters).filter(isName);
export const trainerNames: TrainerName[] = names.filter((name): name is TrainerName =>
  field(name).only !== "api"
);
export const apiFields: ApiField[] = names.filter((name): name is ApiField => field(name).only !== "trainer");
/** The name in the API. */
export const apiName = (name: Name): string => field(name).api ?? name;

/** The minimum and the maximum. */
export function range(name: Name): readonly [number, number] {
  const of = field(name);
  if (of.kind === "number" || of.kind === "integer") return [of.min, of.max ?? Number.MAX_VALUE];
  throw new Error(`${name} is a ${of.kind} and has no range`);
}
