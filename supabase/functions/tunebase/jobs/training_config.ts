/** Resolves a job's requested hyperparameters to the trainer's: "auto", defaults, and the names of both APIs. */
import * as z from "zod";
import {
  type ApiField,
  apiFields,
  apiName,
  field,
  hyperparameters,
  type Method,
  range,
  trainerNames,
} from "../../_shared/contracts/hyperparameters.ts";
import { apiShape } from "../../_shared/contracts/schemas.ts";
import { ApiError, type Problem } from "../../_shared/errors.ts";
import { GpuConfig, TrainingHyperparameters } from "../../_shared/protocol.ts";
import { parseOrThrow, strictObject } from "../../_shared/validation.ts";
import type { BaseModelRow } from "../rows.ts";
import { explainUnquantizedMisfit, resolveQuantization } from "./estimate/memory.ts";

/** OpenAI's hyperparameters (each "auto" or a number) and additional ones. Omitted means "auto". */
export const Hyperparameters = strictObject(apiShape);
type Hyperparameters = z.infer<typeof Hyperparameters>;

/** The DPO paper's value for dialogue, and TRL's default. */
const defaultBeta = 0.1;
/**
 * DPO's learning rate, relative to the supervised one. DPO's loss has a full gradient from the first step, and at the
 * supervised rate both answers become unlikely.
 */
const dpoRateFactor = 0.1;
const minDpoDefaultRate = 1e-5;
/** The rank from which rsLoRA is the default. LoRA's scale, alpha / rank, weakens high ranks; rsLoRA's is alpha / √rank. */
const minRsloraRank = 64;
/** A PiSSA adapter has twice the rank. `trainer/tunebase_trainer/model/lora_variants.py` has the same limit. */
const maxPissaRank = 64;
/** A fine-tune that continues another one keeps these. */
const sharedShape = ["lora_rank", "lora_alpha", "lora_targets", "lora_variant", "use_rslora"] as const;
/** The adapter's scale, unless alpha is given. */
const defaultScale = 2;
/** Below this number of rows, a validation split would leave too few rows for both. */
const minSplitRows = 50;

const automaticSplit = (rows: number) => rows < minSplitRows ? 0 : rows < 1000 ? 0.1 : 0.05;

/** A configuration that is complete except for the number of rows. */
interface Draft {
  max_length: number;
  /** `rows`: the number of trainable rows. */
  finalize(rows: number): { publicHyperparameters: PublicHyperparameters; plan: TrainingHyperparameters };
}
/** The hyperparameters that the API shows. */
type PublicHyperparameters = Record<string, number | string | boolean | string[]>;

interface Request {
  model: BaseModelRow;
  method: Method;
  asked: Hyperparameters;
  /** The operator's defaults for the model, which take precedence over the built-in ones. */
  own: Partial<TrainingHyperparameters>;
  /** The configuration of the fine-tuned model to continue from. Its adapter's shape and base model are kept. */
  parent: TrainingHyperparameters | null;
  hasValidationFile: boolean;
}

/** Resolves a request. `where`: the path of the hyperparameters in the body, for the errors' `param`. */
export function resolveTrainingConfig(
  model: BaseModelRow,
  method: Method,
  asked: Hyperparameters,
  seed: number,
  where: string,
  parent: TrainingHyperparameters | null,
  hasValidationFile: boolean,
): Draft {
  const own = operatorsDefaults(model);
  const request = { model, method, asked, own, parent, hasValidationFile };
  const rate = learningRate(request);
  const max_length = asked.max_length ??
    Math.min(own.max_length ?? hyperparameters.max_length.fallback, model.max_length);
  const shape = adapterShape(request);
  const problems = findConflicts(request, rate, max_length, shape).map((
    { name, message, value },
  ): Problem => ({
    param: `${where}.${name}`,
    message: `${where}.${name} = ${value}: ${message}`,
    value,
  }));
  if (problems.length > 0) throw new ApiError("invalid_request", problems);

  const split = hasValidationFile ? 0 : asked.validation_split ?? own.validation_split ?? "auto";
  const plan = {
    ...plainSettings(request),
    base_model: parent?.base_model ?? model.source,
    base_revision: parent === null ? model.revision : parent.base_revision,
    method,
    beta: method === "dpo" ? given(asked.beta) ?? defaultBeta : null,
    learning_rate: rate.value,
    ...shape,
    warmup_steps: asked.warmup_steps ??
      (asked.warmup_ratio === undefined ? (own.warmup_steps ?? hyperparameters.warmup_steps.fallback) : null),
    max_length,
    seed,
  };
  const gpu = GpuConfig.parse(model.gpu_config);
  const longest = (method === "dpo" ? 2 : 1) * max_length;
  return {
    max_length,
    finalize(rows) {
      const validation_split = split === "auto" ? automaticSplit(rows) : split;
      const asked = TrainingHyperparameters.parse({ ...plan, validation_split });
      const final = { ...asked, quantization: resolveQuantization(model, gpu, asked, longest) };
      return { publicHyperparameters: toPublic(final, rate), plan: final };
    },
  };
}

const given = <V>(value: V | "auto" | undefined): V | undefined => value === "auto" ? undefined : value;

/** Hyperparameters that do not depend on others: as requested, else the operator's default, else the built-in one. */
function plainSettings({ asked, own }: Request): Record<string, unknown> {
  const byApiName: Record<string, unknown> = asked;
  const defaults: Record<string, unknown> = own;
  return Object.fromEntries(trainerNames.map((name) => {
    const { fallback, leftOut } = field(name);
    return [name, given(byApiName[apiName(name)]) ?? defaults[name] ?? fallback ?? leftOut];
  }));
}

interface Rate {
  value: number;
  /** The rate for a multiplier of 1. */
  base: number;
  multiplier: number;
}
function learningRate(request: Request): Rate {
  const { asked, method, own } = request;
  const supervised = own.learning_rate ?? hyperparameters.learning_rate.fallback;
  const base = method === "dpo" ? Math.max(minDpoDefaultRate, supervised * dpoRateFactor) : supervised;
  const multiplier = given(asked.learning_rate_multiplier) ?? 1;
  return { value: asked.learning_rate ?? base * multiplier, base, multiplier };
}

/** Rank, alpha, targets and rsLoRA: the parent's, as requested, or derived from each other. */
function adapterShape(request: Request) {
  const { asked, own, parent } = request;
  if (parent !== null) {
    const { lora_rank, lora_alpha, lora_targets, lora_variant, use_rslora } = parent;
    return { lora_rank, lora_alpha, lora_targets, lora_variant, use_rslora };
  }
  const lora_rank = asked.lora_rank ?? (own.lora_rank ?? hyperparameters.lora_rank.fallback);
  const lora_targets = asked.lora_targets ?? (own.lora_targets ?? hyperparameters.lora_targets.fallback);
  const lora_variant = asked.lora_variant ?? (own.lora_variant ?? hyperparameters.lora_variant.fallback);
  // The operator's alpha applies only to the operator's rank.
  const alpha = given(asked.lora_alpha) ??
    (lora_rank === (own.lora_rank ?? hyperparameters.lora_rank.fallback) ? own.lora_alpha : undefined);
  // An explicit alpha was chosen for LoRA's plain scale.
  const use_rslora = given(asked.use_rslora) ?? own.use_rslora ??
    (lora_rank >= minRsloraRank && alpha === undefined && lora_targets !== "experts" &&
      lora_variant !== "pissa");
  const [min] = range("lora_alpha");
  const lora_alpha = alpha ??
    Math.max(min, Math.round(defaultScale * (use_rslora ? Math.sqrt(lora_rank) : lora_rank)));
  return { lora_rank, lora_alpha, lora_targets, lora_variant, use_rslora };
}

interface Conflict {
  name: ApiFieldName;
  message: string;
  value: unknown;
}
type ApiFieldName = keyof Hyperparameters;
/** Settings of a request that contradict each other. */
function findConflicts(
  request: Request,
  rate: Rate,
  maxLength: number,
  shape: ReturnType<typeof adapterShape>,
): Conflict[] {
  const { model, method, asked, own, parent, hasValidationFile } = request;
  const found: Conflict[] = [];
  const conflict = (name: ApiFieldName, message: string, value: unknown = asked[name]) =>
    found.push({ name, message, value });
  for (const name of apiFields) {
    const only = field(name).method;
    const key = apiNameOf(name);
    if (only !== undefined && only !== method && asked[key] !== undefined && asked[key] !== null) {
      conflict(key, `is only available for method "${only}". Remove it.`);
    }
  }
  for (
    const name of parent === null ? [] : sharedShape
  ) {
    const value = parent?.[name];
    if (given(asked[name]) === undefined || asked[name] === value) continue;
    conflict(name, `must be ${value}, as in the fine-tuned model to continue from. Remove it.`);
  }
  if (asked.learning_rate !== undefined && asked.learning_rate_multiplier !== undefined) {
    conflict("learning_rate_multiplier", "cannot be combined with learning_rate. Set only one of them.");
  }
  if (typeof asked.warmup_steps === "number" && asked.warmup_ratio !== undefined) {
    conflict("warmup_ratio", "cannot be combined with warmup_steps. Set only one of them.");
  }
  if (hasValidationFile && typeof asked.validation_split === "number" && asked.validation_split > 0) {
    conflict("validation_split", "cannot be combined with validation_file. Set only one of them.");
  }
  const [min, max] = range("learning_rate");
  if (rate.value < min || rate.value > max) {
    conflict(
      "learning_rate_multiplier",
      `results in a learning rate of ${rate.value}; it must be from ${min} to ${max}. Use a multiplier from ` +
        `${min / rate.base} to ${max / rate.base}.`,
      rate.multiplier,
    );
  }
  if (maxLength > model.max_length) {
    conflict(
      "max_length",
      `must be at most ${model.max_length}, the context length of ${model.id}.`,
      maxLength,
    );
  }
  if (parent === null) {
    const { lora_rank, lora_targets, lora_variant, use_rslora } = shape;
    const unsupported = (name: ApiFieldName, value: unknown) =>
      conflict(name, `is not available for lora_variant "${lora_variant}".`, value);
    if (lora_variant !== "lora" && lora_targets === "experts") unsupported("lora_targets", lora_targets);
    if (lora_variant === "pissa") {
      const weight_decay = asked.weight_decay ?? request.own.weight_decay ??
        hyperparameters.weight_decay.fallback;
      if (use_rslora) unsupported("use_rslora", use_rslora);
      if (weight_decay > 0) unsupported("weight_decay", weight_decay);
      if (lora_rank > maxPissaRank) {
        conflict("lora_rank", `must be at most ${maxPissaRank} for lora_variant "pissa".`, lora_rank);
      }
    }
  }
  if ((given(asked.quantization) ?? own.quantization) === "none") {
    const misfit = explainUnquantizedMisfit(model, GpuConfig.parse(model.gpu_config), shape);
    if (misfit !== null) conflict("quantization", misfit, "none");
  }
  if (asked.use_rslora === true && asked.lora_targets === "experts") {
    conflict("use_rslora", 'is not available for lora_targets "experts". Remove it.');
  }
  return found;
}
const isApiFieldName = (name: string): name is ApiFieldName => name in apiShape;
function apiNameOf(name: ApiField): ApiFieldName {
  const key = apiName(name);
  if (!isApiFieldName(key)) throw new Error(`${key} is not in the API's schema`);
  return key;
}

/** The hyperparameters that the run uses, by their API names. */
function toPublic(plan: TrainingHyperparameters, rate: Rate): PublicHyperparameters {
  const result: PublicHyperparameters = {};
  for (const name of apiFields) {
    const value = name === "learning_rate_multiplier" ? rate.value / rate.base : plan[name];
    const unused = value === null || (Array.isArray(value) && value.length === 0) ||
      (name === "lora_targets" && value === "all-linear") ||
      (name === "lora_variant" && value === "lora") ||
      (name === "warmup_ratio" && plan.warmup_steps !== null);
    if (!unused) result[apiName(name)] = value;
  }
  return result;
}

/** Once, because zod compiles a schema at its first use: per request, that took a fifth of a create's CPU time. */
const PartialHyperparameters = TrainingHyperparameters.partial();
const Fields = z.record(z.string(), z.unknown());

/** The defaults that the operator has set, without those that the schema fills in. */
function operatorsDefaults(model: BaseModelRow): Partial<TrainingHyperparameters> {
  const set = Fields.parse(model.defaults);
  const checked = parseOrThrow(PartialHyperparameters, set);
  return Object.fromEntries(Object.entries(checked).filter(([name]) => name in set));
}
