/** From what a client asks for to what the trainer is told: "auto" resolved, one name for one thing. */
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
import { TrainingHyperparameters } from "../../_shared/protocol.ts";
import { parseOrThrow, strictObject } from "../../_shared/validation.ts";
import type { BaseModelRow } from "../rows.ts";

/** OpenAI's (each "auto" or a number), and the trainer's own. What is left out is "auto". */
export const Hyperparameters = strictObject(apiShape);
type Hyperparameters = z.infer<typeof Hyperparameters>;

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

/** A tenth; of 1,000 rows and more a twentieth, which is enough to judge by. */
const automaticSplit = (rows: number) => rows < splitFrom ? 0 : rows < 1000 ? 0.1 : 0.05;

/** A plan that wants the number of rows to be whole. */
interface Draft {
  max_length: number;
  /** `rows`: those with something to learn from. */
  settle(rows: number): { shown: Shown; plan: TrainingHyperparameters };
}
/** The hyperparameters as the job shows them. */
type Shown = Record<string, number | string | boolean | string[]>;

/** What a plan is made of; `own` are the operator's defaults for the model, and go before ours. */
interface Request {
  model: BaseModelRow;
  method: Method;
  asked: Hyperparameters;
  own: Partial<TrainingHyperparameters>;
  /** Those of the fine-tune that is trained on from: its adapter's shape stays, and so does the base it was made on. */
  parent: TrainingHyperparameters | null;
  hasValidationFile: boolean;
}

/**
 * The trainer's plan, and the hyperparameters as the job shows them. A multiplier multiplies the base model's own
 * learning rate. `where` is the path of the hyperparameters in the body, for the errors' `param`.
 */
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
  const problems = problemsOf(request, rate, max_length).map(({ name, message, value }): Problem => ({
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
    ...adapterShape(request),
    warmup_steps: asked.warmup_steps ??
      (asked.warmup_ratio === undefined ? (own.warmup_steps ?? hyperparameters.warmup_steps.fallback) : null),
    max_length,
    seed,
  };
  return {
    max_length,
    settle(rows) {
      const validation_split = split === "auto" ? automaticSplit(rows) : split;
      const settled = TrainingHyperparameters.parse({ ...plan, validation_split });
      return { shown: shownOf(settled, rate), plan: settled };
    },
  };
}

const given = <V>(value: V | "auto" | undefined): V | undefined => value === "auto" ? undefined : value;

/** Those that are what was asked for, else the operator's, else the declared default; the others follow from several. */
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
  /** What a multiplier of 1 means. */
  base: number;
  multiplier: number;
}
function learningRate(request: Request): Rate {
  const { asked, method, own } = request;
  const [least] = range("learning_rate");
  const usual = own.learning_rate ?? hyperparameters.learning_rate.fallback;
  const base = method === "dpo" ? Math.max(least, usual * dpoShare) : usual;
  const multiplier = given(asked.learning_rate_multiplier) ?? 1;
  return { value: asked.learning_rate ?? base * multiplier, base, multiplier };
}

/** Rank, alpha, targets and scale: the parent's, or what was asked for, or what goes with each other. */
function adapterShape(request: Request) {
  const { asked, own, parent } = request;
  if (parent !== null) {
    const { lora_rank, lora_alpha, lora_targets, use_rslora } = parent;
    return { lora_rank, lora_alpha, lora_targets, use_rslora };
  }
  const lora_rank = asked.lora_rank ?? (own.lora_rank ?? hyperparameters.lora_rank.fallback);
  const lora_targets = asked.lora_targets ?? (own.lora_targets ?? hyperparameters.lora_targets.fallback);
  // The operator's alpha goes with the operator's rank.
  const alpha = given(asked.lora_alpha) ??
    (lora_rank === (own.lora_rank ?? hyperparameters.lora_rank.fallback) ? own.lora_alpha : undefined);
  // Who gives an alpha means the plain scale by which it was chosen.
  const use_rslora = given(asked.use_rslora) ?? own.use_rslora ??
    (lora_rank >= rsloraFrom && alpha === undefined && lora_targets !== "experts");
  const [least] = range("lora_alpha");
  const lora_alpha = alpha ??
    Math.max(least, Math.round(scale * (use_rslora ? Math.sqrt(lora_rank) : lora_rank)));
  return { lora_rank, lora_alpha, lora_targets, use_rslora };
}

interface Conflict {
  name: ApiFieldName;
  message: string;
  value: unknown;
}
type ApiFieldName = keyof Hyperparameters;
const twoWays = "They are two ways of saying one thing; send one of them.";
/** What of a request does not go together. */
function problemsOf(request: Request, rate: Rate, maxLength: number): Conflict[] {
  const { model, method, asked, parent, hasValidationFile } = request;
  const found: Conflict[] = [];
  const refuse = (name: ApiFieldName, message: string, value: unknown = asked[name]) =>
    found.push({ name, message, value });
  for (const name of apiFields) {
    const only = field(name).method;
    const key = apiNameOf(name);
    if (only !== undefined && only !== method && asked[key] !== undefined && asked[key] !== null) {
      refuse(key, `belongs to method "${only}". Leave it out.`);
    }
  }
  for (
    const name of parent === null ? [] : ["lora_rank", "lora_alpha", "lora_targets", "use_rslora"] as const
  ) {
    const value = parent?.[name];
    if (given(asked[name]) === undefined || asked[name] === value) continue;
    refuse(name, `must be ${value}, as in the fine-tune that is trained on from. Leave it out.`);
  }
  if (asked.learning_rate !== undefined && asked.learning_rate_multiplier !== undefined) {
    refuse("learning_rate_multiplier", `learning_rate is set too. ${twoWays}`);
  }
  if (typeof asked.warmup_steps === "number" && asked.warmup_ratio !== undefined) {
    refuse("warmup_ratio", `warmup_steps is set too. ${twoWays}`);
  }
  if (hasValidationFile && typeof asked.validation_split === "number" && asked.validation_split > 0) {
    refuse("validation_split", "there is a validation_file. Leave one of them out.");
  }
  const [least, most] = range("learning_rate");
  if (rate.value < least || rate.value > most) {
    refuse(
      "learning_rate_multiplier",
      `gives a learning rate of ${rate.value}; it must be from ${least} to ${most}, so use a multiplier from ` +
        `${least / rate.base} to ${most / rate.base}.`,
      rate.multiplier,
    );
  }
  if (maxLength > model.max_length) {
    refuse("max_length", `must be at most ${model.max_length}, what ${model.id} can read.`, maxLength);
  }
  if (asked.use_rslora === true && asked.lora_targets === "experts") {
    refuse("use_rslora", "experts have a rank and a scale of their own. Leave it out.");
  }
  return found;
}
const isApiFieldName = (name: string): name is ApiFieldName => name in apiShape;
function apiNameOf(name: ApiField): ApiFieldName {
  const key = apiName(name);
  if (!isApiFieldName(key)) throw new Error(`${key} is not in the API's schema`);
  return key;
}

/** By OpenAI's names; without what the run does not use. */
function shownOf(plan: TrainingHyperparameters, rate: Rate): Shown {
  const shown: Shown = {};
  for (const name of apiFields) {
    const value = name === "learning_rate_multiplier" ? rate.value / rate.base : plan[name];
    const unused = value === null || (Array.isArray(value) && value.length === 0) ||
      (name === "lora_targets" && value === "all-linear") ||
      (name === "warmup_ratio" && plan.warmup_steps !== null);
    if (!unused) shown[apiName(name)] = value;
  }
  return shown;
}

/** Those that the operator has set; the schema's own defaults are not meant. */
function operatorsDefaults(model: BaseModelRow): Partial<TrainingHyperparameters> {
  const set = z.record(z.string(), z.unknown()).parse(model.defaults);
  const checked = parseOrThrow(TrainingHyperparameters.partial(), set);
  return Object.fromEntries(Object.entries(checked).filter(([name]) => name in set));
}
