/**
 * Every hyperparameter, declared once. From here come the API's and the protocol's schemas (`schemas.ts`), the trainer's
 * model (`trainer/tunebase_trainer/contract.py`), the dashboard's form and "Run again", the command line's options, and the
 * tables in `docs/api.md` and `trainer/README.md`. Light: the dashboard loads it, so it imports nothing.
 */

/** What is trained from: one answer per row, or the better of two. */
export const methods = ["supervised", "dpo"] as const;
export type Method = (typeof methods)[number];

interface Common {
  /** Its name in the API where that is OpenAI's; else both have one name. */
  api?: string;
  /** The API takes the word "auto" for it too. */
  auto?: true;
  /** Where it exists: `trainer` is set by a field of its own in the API, `api` is resolved to another one. */
  only?: "trainer" | "api";
  /** The one method that has it. */
  method?: Method;
  /** What the API writes when it is left out and the model has no default of its own; absent: `plan.ts` derives it. */
  fallback?: number | string | null;
  /** What the trainer takes when it is left out; absent: the trainer requires it. */
  leftOut?: number | string | boolean | null | readonly string[];
  /** Older callers' names, which the trainer still takes. */
  aliases?: readonly string[];
  label: string;
  /** Below the form's field. */
  help: string;
  /** Part of the form; absent: under "More settings". */
  main?: true;
  /** Its option on the command line; what has none is given with `--set`. */
  cli?: { flag: string; value: string; help: string };
  /** The tables' columns, where they say more than the range and the fallback. */
  docs?: { allowed?: string; unset?: string };
}
interface NumberField extends Common {
  kind: "number" | "integer";
  min: number;
  /** Absent: as large as a number may be. */
  max?: number;
  /** `min` itself is refused. */
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
/** Any of the values, each once. */
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
    cli: { flag: "--epochs", value: "n", help: "passes over the dataset, or auto" },
  },
  batch_size: {
    kind: "integer",
    min: 1,
    max: 64,
    unit: "rows",
    auto: true,
    fallback: 8,
    label: "Batch size",
    help: "Rows per step. A smaller batch needs less memory and makes more steps.",
    main: true,
    cli: { flag: "--batch-size", value: "n", help: "rows per step, or auto" },
  },
  learning_rate_multiplier: {
    kind: "number",
    min: 0,
    above: true,
    only: "api",
    auto: true,
    label: "Learning rate multiplier",
    help: "Multiplies the model's own learning rate.",
    docs: { unset: "1; multiplies the model default" },
  },
  learning_rate: {
    kind: "number",
    min: 1e-5,
    max: 1e-3,
    fallback: 2e-4,
    label: "Learning rate",
    help: "Size of a step. If it is too high, the loss jumps.",
    main: true,
    cli: { flag: "--learning-rate", value: "rate", help: "such as 0.0002" },
    docs: { unset: "model default, else 2e-4; set this or the multiplier" },
  },
  lora_rank: {
    kind: "integer",
    min: 4,
    max: 128,
    fallback: 16,
    aliases: ["rank"],
    label: "LoRA rank",
    help: "Capacity of the adapter.",
    cli: { flag: "--lora-rank", value: "n", help: "capacity of the adapter" },
  },
  lora_alpha: {
    kind: "integer",
    min: 8,
    max: 256,
    auto: true,
    aliases: ["alpha"],
    label: "LoRA alpha",
    help: "Weight of the adapter; twice the rank is usual.",
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
    help: "Which layers get an adapter.",
    docs: { unset: '`"all-linear"`; modules per architecture: `trainer/README.md`' },
  },
  use_rslora: {
    kind: "switch",
    auto: true,
    leftOut: false,
    label: "rsLoRA",
    help: "Scales by the rank's square root, which suits ranks of 64 and more.",
    docs: { unset: "true from rank 64, unless you set `lora_alpha`" },
  },
  warmup_ratio: {
    kind: "number",
    min: 0,
    max: 0.5,
    unit: "of all steps",
    fallback: 0.05,
    leftOut: 0.05,
    label: "Warm-up ratio",
    help: "Share of all steps until the full learning rate.",
    docs: { unset: "0.05" },
  },
  warmup_steps: {
    kind: "integer",
    min: 0,
    nullable: true,
    fallback: null,
    leftOut: null,
    label: "Warm-up steps",
    help: "Steps until the full learning rate; instead of the ratio.",
    docs: { unset: "none; set this or `warmup_ratio`" },
  },
  lr_schedule: {
    kind: "choice",
    values: ["linear", "cosine"],
    fallback: "linear",
    leftOut: "linear",
    label: "Learning rate schedule",
    help: "How the rate falls to 0 after the warm-up.",
    docs: { unset: '`"linear"`; both decay to 0 at the last step' },
  },
  weight_decay: {
    kind: "number",
    min: 0,
    max: 1,
    fallback: 0,
    leftOut: 0,
    label: "Weight decay",
    help: "Pulls the weights towards 0.",
    docs: { unset: "0" },
  },
  max_grad_norm: {
    kind: "number",
    min: 0,
    max: 10,
    fallback: 1,
    leftOut: 1,
    label: "Maximum gradient norm",
    help: "Larger gradients are clipped; 0 turns clipping off.",
    docs: { allowed: "0 to 10; 0 disables clipping", unset: "1" },
  },
  validation_split: {
    kind: "number",
    min: 0,
    max: 0.5,
    unit: "of the rows",
    auto: true,
    leftOut: 0,
    label: "Validation split",
    help: "Share of the rows held out to validate with; without a validation file.",
    docs: { unset: "0.1; 0.05 from 1,000 rows; 0 below 50 rows or with a `validation_file`" },
  },
  early_stopping_patience: {
    kind: "integer",
    min: 0,
    max: 20,
    fallback: 3,
    leftOut: 0,
    label: "Early stopping patience",
    help: "Epochs without a lower validation loss before training ends; 0: never.",
    docs: { allowed: "0 to 20 epochs; 0 disables it", unset: "3" },
  },
  max_length: {
    kind: "integer",
    min: 64,
    max: 131072,
    unit: "tokens",
    fallback: 2048,
    leftOut: 2048,
    label: "Maximum row length, in tokens",
    help: "Longer rows are truncated from the start.",
    cli: { flag: "--max-length", value: "tokens", help: "truncate longer rows" },
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
    help: "The same seed shuffles the same way.",
  },
  export: {
    kind: "list",
    values: ["merged", "gguf"],
    leftOut: [],
    label: "The whole model too, with the adapter in it",
    help: "What to make beside the adapter.",
    valueLabels: {
      merged: "merged: the weights in bf16, for transformers and vLLM",
      gguf: "GGUF in Q8_0, for llama.cpp: of a Llama, a Qwen 2 or a Qwen 3",
    },
    docs: { unset: "`[]`, the adapter only" },
  },
} as const satisfies Record<string, HyperparameterField>;

type Declared = typeof hyperparameters;
export type Name = keyof Declared;
/** Names of those that the trainer has, and of those that the API takes as hyperparameters. */
export type TrainerName = { [N in Name]: Declared[N] extends { only: "api" } ? never : N }[Name];
export type ApiField = { [N in Name]: Declared[N] extends { only: "trainer" } ? never : N }[Name];
export type ApiNameOf<N extends Name> = Declared[N] extends { api: infer A extends string } ? A : N;
export type ApiName = ApiNameOf<ApiField>;

/** The value's type; null is extra. */
type Plain<F> = F extends { kind: "number" | "integer" } ? number
  : F extends { kind: "switch" } ? boolean
  : F extends { kind: "choice"; values: readonly (infer V)[] } ? V
  : F extends { kind: "list"; values: readonly (infer V)[] } ? V[]
  : never;
export type Value<N extends Name> =
  | Plain<Declared[N]>
  | (Declared[N] extends { nullable: true } ? null : never);
/** What the API takes for it. */
export type Asked<N extends Name> =
  | Value<N>
  | (Declared[N] extends { auto: true } ? "auto" : never);

const isName = (name: string): name is Name => name in hyperparameters;
/** Read through this: the literal types of `hyperparameters` lack what some fields leave out. */
export const field = (name: Name): HyperparameterField => hyperparameters[name];
export const names: Name[] = Object.keys(hyperparameters).filter(isName);
export const trainerNames: TrainerName[] = names.filter((name): name is TrainerName =>
  field(name).only !== "api"
);
export const apiFields: ApiField[] = names.filter((name): name is ApiField => field(name).only !== "trainer");
/** Its name in the API. */
export const apiName = (name: Name): string => field(name).api ?? name;

/** The lowest and the highest value. */
export function range(name: Name): readonly [number, number] {
  const of = field(name);
  if (of.kind === "number" || of.kind === "integer") return [of.min, of.max ?? Number.MAX_VALUE];
  throw new Error(`${name} is a ${of.kind}: it has no range`);
}
