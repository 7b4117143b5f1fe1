/** From what a client asks for to what the trainer is told: "auto" resolved, one name for one thing. */
import * as z from "zod";
import { ApiError, type Problem } from "../_shared/errors.ts";
import {
  exports,
  LoraTargets,
  type Method,
  ranges,
  schedules,
  TrainingHyperparameters,
} from "../_shared/protocol.ts";
import { check, fields } from "../_shared/validation.ts";
import type { BaseModelRow } from "./rows.ts";

type Name = keyof typeof ranges;
const number = (name: Name) => z.number().min(ranges[name][0]).max(ranges[name][1]);
const whole = (name: Name) => z.int().min(ranges[name][0]).max(ranges[name][1]);
const auto = z.literal("auto");

/** OpenAI's (each "auto" or a number), and the trainer's own. What is left out is "auto". `beta` belongs to dpo. */
export const Hyperparameters = fields({
  n_epochs: z.union([whole("num_epochs"), auto]).optional(),
  batch_size: z.union([whole("batch_size"), auto]).optional(),
  learning_rate_multiplier: z.union([z.number().gt(0, "must be above 0"), auto]).optional(),
  learning_rate: number("learning_rate").optional(),
  lora_rank: whole("lora_rank").optional(),
  lora_alpha: z.union([whole("lora_alpha"), auto]).optional(),
  lora_dropout: number("lora_dropout").optional(),
  lora_targets: LoraTargets.optional(),
  use_rslora: z.union([z.boolean(), auto]).optional(),
  warmup_steps: z.int().min(0).nullish(),
  warmup_ratio: number("warmup_ratio").optional(),
  lr_schedule: z.enum(schedules).optional(),
  weight_decay: number("weight_decay").optional(),
  max_grad_norm: number("max_grad_norm").optional(),
  validation_split: z.union([number("validation_split"), auto]).optional(),
  early_stopping_patience: whole("early_stopping_patience").optional(),
  max_length: whole("max_length").optional(),
  export: z.array(z.enum(exports)).max(exports.length).optional(),
  beta: z.union([z.number().gt(ranges.beta[0]).max(ranges.beta[1]), auto]).optional(),
});
type Hyperparameters = z.infer<typeof Hyperparameters>;

/**
 * Linear to 0, as runs had it before there was a choice; a
 * patience of 3 epochs ends what has long begun to learn its rows by heart, and no run of three epochs.
 */
const fallback = {
  num_epochs: 3,
  batch_size: 8,
  learning_rate: 2e-4,
  lora_rank: 16,
  lora_dropout: 0.05,
  lora_targets: "default" as const,
  warmup_steps: null,
  warmup_ratio: 0.05,
  lr_schedule: "linear" as const,
  weight_decay: 0,
  max_grad_norm: 1,
  early_stopping_patience: 3,
  max_length: 2048,
};
/** The paper's for dialogue, and what TRL has. */
const defaultBeta = 0.1;
/**
 * Of the supervised learning rate, for dpo: its loss has a gradient from the first step whatever the model knows already,
 * and rates that teach an answer in a few epochs make both answers unlikely there.
 */
const dpoShare = 0.1;
/** Plain LoRA scales by alpha / rank, which weakens an adapter of a high rank; rsLoRA by alpha / √rank. */
const rsloraFrom = 64;
/** The adapter's output is scaled by this much unless an alpha is given. */
const scale = 2;
/** Below so many rows a split would leave too few to learn from, and too few to judge by. */
const splitFrom = 50;

/** How many rows of `rows` a split holds out; `tunebase_trainer/split.py` does the same. */
export function heldOut(rows: number, split: number): number {
  return split === 0 ? 0 : Math.max(0, Math.min(rows - 1, Math.max(1, Math.floor(rows * split))));
}
/** A tenth; of 1,000 rows and more a twentieth, which is enough to judge by. */
const automaticSplit = (rows: number) => rows < splitFrom ? 0 : rows < 1000 ? 0.1 : 0.05;

/**
 * The trainer's plan, and the hyperparameters as the job shows them. A multiplier multiplies the base model's own
 * learning rate. `where` is the path of the hyperparameters in the body, for the errors' `param`. `parent` are those of the
 * fine-tune that is trained on from: its adapter's shape stays, and so does the base that it was made on.
 */
export function makePlan(
  model: BaseModelRow,
  method: Method,
  asked: Hyperparameters,
  seed: number,
  where: string,
  parent: TrainingHyperparameters | null,
  hasValidationFile: boolean,
): Draft {
  const problems: Problem[] = [];
  const defaults = { ...fallback, ...operatorsDefaults(model) };
  if (method === "dpo") {
    defaults.learning_rate = Math.max(ranges.learning_rate[0], defaults.learning_rate * dpoShare);
  } else if (asked.beta !== undefined) {
    problems.push({
      param: `${where}.beta`,
      message: `${where}.beta = ${asked.beta}: belongs to method "dpo". Leave it out.`,
      value: asked.beta,
    });
  }
  for (
    const name of parent === null ? [] : ["lora_rank", "lora_alpha", "lora_targets", "use_rslora"] as const
  ) {
    const [wanted, value] = [asked[name], parent?.[name]];
    if (wanted === undefined || wanted === "auto" || wanted === value) continue;
    problems.push({
      param: `${where}.${name}`,
      message:
        `${where}.${name} = ${wanted}: must be ${value}, as in the fine-tune that is trained on from. Leave it out.`,
      value: wanted,
    });
  }
  const numeric = (value: number | "auto" | undefined, other: number) =>
    typeof value === "number" ? value : other;
  const multiplier = numeric(asked.learning_rate_multiplier, 1);
  const learningRate = asked.learning_rate ?? defaults.learning_rate * multiplier;
  if (asked.learning_rate !== undefined && asked.learning_rate_multiplier !== undefined) {
    problems.push({
      param: `${where}.learning_rate_multiplier`,
      message:
        `${where}.learning_rate_multiplier = ${asked.learning_rate_multiplier}: learning_rate is set too. ` +
        "They are two ways of saying one thing; send one of them.",
      value: asked.learning_rate_multiplier,
    });
  }
  if (typeof asked.warmup_steps === "number" && asked.warmup_ratio !== undefined) {
    problems.push({
      param: `${where}.warmup_ratio`,
      message: `${where}.warmup_ratio = ${asked.warmup_ratio}: warmup_steps is set too. ` +
        "They are two ways of saying one thing; send one of them.",
      value: asked.warmup_ratio,
    });
  }
  if (hasValidationFile && typeof asked.validation_split === "number" && asked.validation_split > 0) {
    problems.push({
      param: `${where}.validation_split`,
      message: `${where}.validation_split = ${asked.validation_split}: there is a validation_file. ` +
        "Leave one of them out.",
      value: asked.validation_split,
    });
  }
  const [least, most] = ranges.learning_rate;
  if (learningRate < least || learningRate > most) {
    problems.push({
      param: `${where}.learning_rate_multiplier`,
      message:
        `${where}.learning_rate_multiplier = ${multiplier}: gives a learning rate of ${learningRate}; ` +
        `it must be from ${least} to ${most}, so use a multiplier from ${
          least / defaults.learning_rate
        } to ` +
        `${most / defaults.learning_rate}.`,
      value: multiplier,
    });
  }
  const maxLength = asked.max_length ?? Math.min(defaults.max_length, model.max_length);
  if (maxLength > model.max_length) {
    problems.push({
      param: `${where}.max_length`,
      message:
        `${where}.max_length = ${maxLength}: must be at most ${model.max_length}, what ${model.id} can read.`,
      value: maxLength,
    });
  }
  if (asked.use_rslora === true && asked.lora_targets === "experts") {
    problems.push({
      param: `${where}.use_rslora`,
      message: `${where}.use_rslora = true: experts have a rank and a scale of their own. Leave it out.`,
      value: true,
    });
  }
  if (problems.length > 0) throw new ApiError("invalid_request", problems);

  const rank = parent?.lora_rank ?? asked.lora_rank ?? defaults.lora_rank;
  // The operator's alpha goes with the operator's rank.
  const others = rank === defaults.lora_rank ? defaults.lora_alpha : undefined;
  const given = parent?.lora_alpha ?? (typeof asked.lora_alpha === "number" ? asked.lora_alpha : others);
  const targets = parent?.lora_targets ?? asked.lora_targets ?? defaults.lora_targets;
  // Who gives an alpha means the plain scale by which it was chosen.
  const rslora = parent?.use_rslora ??
    (typeof asked.use_rslora === "boolean"
      ? asked.use_rslora
      : defaults.use_rslora ?? (rank >= rsloraFrom && given === undefined && targets !== "experts"));
  const alpha = given ??
    Math.max(ranges.lora_alpha[0], Math.round(scale * (rslora ? Math.sqrt(rank) : rank)));
  const split = hasValidationFile ? 0 : asked.validation_split ?? defaults.validation_split ?? "auto";
  const plan = {
    base_model: parent?.base_model ?? model.source,
    base_revision: parent === null ? model.revision : parent.base_revision,
    method,
    beta: method === "dpo" ? numeric(asked.beta, defaultBeta) : null,
    learning_rate: learningRate,
    batch_size: numeric(asked.batch_size, defaults.batch_size),
    num_epochs: numeric(asked.n_epochs, defaults.num_epochs),
    lora_rank: rank,
    lora_alpha: alpha,
    lora_dropout: asked.lora_dropout ?? defaults.lora_dropout,
    lora_targets: targets,
    use_rslora: rslora,
    warmup_steps: asked.warmup_steps ?? (asked.warmup_ratio === undefined ? defaults.warmup_steps : null),
    warmup_ratio: asked.warmup_ratio ?? defaults.warmup_ratio,
    lr_schedule: asked.lr_schedule ?? defaults.lr_schedule,
    weight_decay: asked.weight_decay ?? defaults.weight_decay,
    max_grad_norm: asked.max_grad_norm ?? defaults.max_grad_norm,
    early_stopping_patience: asked.early_stopping_patience ?? defaults.early_stopping_patience,
    max_length: maxLength,
    seed,
    export: asked.export ?? [],
  };
  return {
    max_length: maxLength,
    settle(rows) {
      const validation_split = split === "auto" ? automaticSplit(rows) : split;
      const {
        base_model: _,
        base_revision: __,
        method: ____,
        beta,
        num_epochs,
        warmup_steps,
        warmup_ratio,
        seed: ___,
        export: made,
        lora_targets,
        ...own
      } = plan;
      const shown = {
        ...(beta === null ? {} : { beta }),
        n_epochs: num_epochs,
        learning_rate_multiplier: plan.learning_rate / defaults.learning_rate,
        ...own,
        ...(lora_targets === "default" ? {} : { lora_targets }),
        ...(warmup_steps === null ? { warmup_ratio } : { warmup_steps }),
        validation_split,
        ...(made.length === 0 ? {} : { export: made }),
      };
      return { shown, plan: TrainingHyperparameters.parse({ ...plan, validation_split }) };
    },
  };
}

/** A plan that wants the number of rows to be whole. */
interface Draft {
  max_length: number;
  /** `rows`: those with something to learn from. */
  settle(
    rows: number,
  ): { shown: Record<string, number | string | boolean | string[]>; plan: TrainingHyperparameters };
}

/** Those that the operator has set; the schema's own defaults are not meant. */
function operatorsDefaults(model: BaseModelRow): Partial<TrainingHyperparameters> {
  const set = z.record(z.string(), z.unknown()).parse(model.defaults);
  const checked = check(TrainingHyperparameters.partial(), set);
  return Object.fromEntries(Object.entries(checked).filter(([name]) => name in set));
}
