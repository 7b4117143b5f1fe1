/** From what a client asks for to what the trainer is told: "auto" resolved, one name for one thing. */
import * as z from "zod";
import type { Tables } from "../_shared/database.types.ts";
import { ApiError, type Problem } from "../_shared/errors.ts";
import { exports, LoraTargets, ranges, TrainingHyperparameters } from "../_shared/protocol.ts";
import { check, fields } from "../_shared/validation.ts";

type Name = keyof typeof ranges;
const number = (name: Name) => z.number().min(ranges[name][0]).max(ranges[name][1]);
const whole = (name: Name) => z.int().min(ranges[name][0]).max(ranges[name][1]);
const auto = z.literal("auto");

/** OpenAI's three (each "auto" or a number), and the trainer's own. */
export const Hyperparameters = fields({
  n_epochs: z.union([whole("num_epochs"), auto]).optional(),
  batch_size: z.union([whole("batch_size"), auto]).optional(),
  learning_rate_multiplier: z.union([z.number().gt(0, "must be above 0"), auto]).optional(),
  learning_rate: number("learning_rate").optional(),
  lora_rank: whole("lora_rank").optional(),
  lora_alpha: whole("lora_alpha").optional(),
  lora_dropout: number("lora_dropout").optional(),
  lora_targets: LoraTargets.optional(),
  warmup_steps: z.int().min(0).nullish(),
  weight_decay: number("weight_decay").optional(),
  max_length: whole("max_length").optional(),
  export: z.array(z.enum(exports)).max(1).optional(),
});
type Hyperparameters = z.infer<typeof Hyperparameters>;

const fallback = {
  num_epochs: 3,
  batch_size: 8,
  learning_rate: 2e-4,
  lora_rank: 16,
  lora_alpha: 32,
  lora_dropout: 0.05,
  lora_targets: "default" as const,
  warmup_steps: null,
  weight_decay: 0,
  max_length: 2048,
};

/**
 * The trainer's plan, and the hyperparameters as the job shows them. A multiplier multiplies the base model's own
 * learning rate. `where` is the path of the hyperparameters in the body, for the errors' `param`. `parent` are those of the
 * fine-tune that is trained on from: its adapter's shape stays, and so does the base that it was made on.
 */
export function makePlan(
  model: Tables<"base_models">,
  asked: Hyperparameters,
  seed: number,
  where: string,
  parent: TrainingHyperparameters | null = null,
): { shown: Record<string, number | string | string[]>; plan: TrainingHyperparameters } {
  const problems: Problem[] = [];
  const shape = parent === null ? {} : {
    lora_rank: parent.lora_rank,
    lora_alpha: parent.lora_alpha,
    lora_targets: parent.lora_targets ?? fallback.lora_targets,
  };
  const defaults = { ...fallback, ...check(TrainingHyperparameters.partial(), model.defaults), ...shape };
  for (const [name, value] of Object.entries(shape)) {
    const wanted = asked[name as "lora_rank" | "lora_alpha" | "lora_targets"];
    if (wanted === undefined || wanted === value) continue;
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
  if (problems.length > 0) throw new ApiError("invalid_request", problems);

  const plan = {
    base_model: parent?.base_model ?? model.source,
    base_revision: parent === null ? model.revision : parent.base_revision,
    learning_rate: learningRate,
    batch_size: numeric(asked.batch_size, defaults.batch_size),
    num_epochs: numeric(asked.n_epochs, defaults.num_epochs),
    lora_rank: asked.lora_rank ?? defaults.lora_rank,
    lora_alpha: asked.lora_alpha ?? defaults.lora_alpha,
    lora_dropout: asked.lora_dropout ?? defaults.lora_dropout,
    lora_targets: asked.lora_targets ?? defaults.lora_targets,
    warmup_steps: asked.warmup_steps ?? defaults.warmup_steps,
    weight_decay: asked.weight_decay ?? defaults.weight_decay,
    max_length: maxLength,
    seed,
    export: asked.export ?? [],
  };
  const shown = {
    n_epochs: plan.num_epochs,
    batch_size: plan.batch_size,
    learning_rate_multiplier: plan.learning_rate / defaults.learning_rate,
    learning_rate: plan.learning_rate,
    lora_rank: plan.lora_rank,
    lora_alpha: plan.lora_alpha,
    lora_dropout: plan.lora_dropout,
    ...(plan.lora_targets === "default" ? {} : { lora_targets: plan.lora_targets }),
    weight_decay: plan.weight_decay,
    max_length: plan.max_length,
    ...(plan.warmup_steps === null ? {} : { warmup_steps: plan.warmup_steps }),
    ...(plan.export.length === 0 ? {} : { export: plan.export }),
  };
  return { shown, plan: TrainingHyperparameters.parse(plan) };
}
