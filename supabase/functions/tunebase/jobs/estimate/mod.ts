/** What a job is expected to take: tokens, rows, steps, time, cost and memory, each with what it rests on. */
import { logError } from "../../../_shared/log.ts";
import * as z from "zod";
import { heldOut } from "../../../_shared/contracts/held_out.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { Platform } from "../../../_shared/platform.ts";
import { GpuConfig, type TrainingHyperparameters } from "../../../_shared/protocol.ts";
import type { BaseModelRow, CountedFile, EstimateInputs } from "../../rows.ts";
import { countCharacters } from "./characters.ts";
import { estimateMemory } from "./memory.ts";
import { Sample, takeSample } from "./sample.ts";
import { estimateFile, type FileEstimate, type Range } from "./statistics.ts";

/** From a worker's claim to its first step: the dataset, the model into memory. Paid for. */
const startSeconds: Range = { low: 30, expected: 120, high: 300 };
/** How far a run's speed lies from the one that the operator gave. */
const speedDoubt = { slow: 0.7, fast: 1.25 };
/** What goes forward only, as validation does, is a third of the work, a token. */
const forwardShare = 1 / 3;

export type Estimate = ReturnType<typeof makeEstimate>;
type Counted = Awaited<ReturnType<typeof countFiles>>;

/** What the job's files hold. Never fails for want of a sample: it rests on the file's size then, and says so. */
export async function countFiles(platform: Platform, inputs: EstimateInputs, maxLength: number) {
  return {
    training: await estimated(platform, inputs.model, inputs.training, maxLength),
    validation: inputs.validation === null
      ? null
      : await estimated(platform, inputs.model, inputs.validation, maxLength),
  };
}

/** Makes the estimate of a job. */
export function makeEstimate(
  model: BaseModelRow,
  { training: { file, counter, hides }, validation: validationFile }: Counted,
  plan: TrainingHyperparameters,
) {
  // Of a preference row both answers go through the model, each behind its prompt.
  const sides = plan.method === "dpo" ? 2 : 1;
  const longest = Math.min(
    sides * plan.max_length,
    file.truncated.high > 0
      ? sides * plan.max_length
      : Math.ceil(file.tokens.high / Math.max(1, file.trained.expected) * 3),
  );
  const { trained, held, tokens, heldTokens } = split(file, plan.validation_split, longest);
  const validation = validationFile?.file.tokens ?? heldTokens;
  const stepsPerEpoch = Math.ceil(Math.max(1, trained.expected) / plan.batch_size);
  const total = times(tokens, plan.num_epochs);
  // The first validation is never worse than the one before it: so many epochs are trained at the least.
  const minEpochs = plan.early_stopping_patience + 1;
  const mayStopEarly = validation !== null && plan.early_stopping_patience > 0 &&
    minEpochs < plan.num_epochs;
  if (mayStopEarly) total.low = Math.round(tokens.low * minEpochs);
  const seconds = trainingSeconds(total, forwardOnly(tokens, validation, plan), model);
  const gpu = GpuConfig.parse(model.gpu_config);
  const perSecond = gpu.cost_per_gpu_hour * gpu.num_gpus / 3600;
  const steps = { per_epoch: stepsPerEpoch, total: stepsPerEpoch * plan.num_epochs };
  const warnings = [...warnOfSteps(steps.total, trained.expected, plan), ...warn(file, plan.max_length)];
  if (hides === "tools") {
    warnings.push(
      "Rows declare tools, and this model's chat template does not show them: it learns the answers without them.",
    );
  }
  const memory = estimateMemory(model, gpu, plan, longest);
  if (memory.fits === false) {
    warnings.push(
      `It may not fit: about ${memory.required_gb?.low} GB are needed at the least, and a GPU has ` +
        `${memory.available_gb} GB. Use a smaller max_length.`,
    );
  }
  return {
    tokens: {
      method: file.method,
      per_epoch: tokens,
      total,
      trainable_tokens_per_epoch: times(file.learned, trained.expected / Math.max(1, file.trained.expected)),
      validation,
      basis: tokensRestOn(file, counter) +
        (mayStopEarly ? ` \`total.low\` is what early stopping leaves: ${minEpochs} epochs.` : ""),
    },
    rows: {
      total: file.rows,
      trained,
      validation: validationFile?.file.trained ?? held,
      truncated: file.truncated,
      skipped: file.skipped,
    },
    steps,
    time: {
      seconds,
      basis: seconds === null
        ? "Not known: the operator has not told how many tokens a second this model trains (tokens_per_second)."
        : `${model.tokens_per_second} tokens a second, as the operator gave for ${gpu.num_gpus} × ${gpu.gpu_type}, ` +
          `and about ${startSeconds.expected} s until the first step` +
          (sides === 2 ? ", where every answer goes through the model once before" : "") +
          ". The wait for a GPU comes on top and costs nothing.",
    },
    cost: {
      usd: seconds === null ? null : times(seconds, perSecond, money),
      basis: seconds === null
        ? "Not known, as the time is not."
        : `The time, at ${gpu.cost_per_gpu_hour} USD an hour for each of ${gpu.num_gpus} GPUs. \`high\` is set aside.`,
    },
    memory,
    warnings,
  };
}

/**
 * What the trainer makes of a split: it takes rows from every part of the file sorted by length, so that what they hold
 * is their share but for the length of two rows at the most.
 */
function split(file: FileEstimate, share: number, longest: number) {
  const held = each(file.trained, (rows) => heldOut(rows, share));
  const trained = each(file.trained, (rows) => rows - heldOut(rows, share));
  if (share === 0) return { trained, held, tokens: file.tokens, heldTokens: null };
  const part = held.expected / Math.max(1, file.trained.expected);
  const around = ({ low, expected, high }: Range, factor: number) => ({
    low: Math.max(0, Math.floor(low * factor - 2 * longest)),
    expected: Math.round(expected * factor),
    high: Math.ceil(high * factor + 2 * longest),
  });
  return { trained, held, tokens: around(file.tokens, 1 - part), heldTokens: around(file.tokens, part) };
}

/** A file by its remembered sample, else by a new one, which is remembered. */
async function estimated(
  { db, supabase, settings }: Platform,
  model: BaseModelRow,
  counted: CountedFile,
  maxLength: number,
): Promise<{ file: FileEstimate; counter: "tokenizer" | "characters"; hides: Sample["hides"] }> {
  const counter = model.tokenizer === null ? "characters" : "tokenizer";
  const report = Report.parse(counted.report);
  const size = {
    bytes: counted.bytes,
    rows: report.rows ?? null,
    skipped: report.rows_without_labels ?? null,
    tokens: report.tokens ?? null,
  };
  if (counted.sample !== null) {
    const sample = Sample.parse(counted.sample);
    return { file: estimateFile(size, sample, counter, maxLength), counter, hides: sample.hides };
  }
  try {
    const counting = model.tokenizer === null
      ? { count: countCharacters, shows: null }
      : await (await import("./tokenizer.ts")).loadCounter(supabase, model.tokenizer);
    const sample = await takeSample(
      supabase,
      counted.object,
      counted.bytes,
      counting,
      settings.tokenCountBudgetMs,
    );
    // Not one that time ran out for: it may come further the next time.
    if (sample.rows.length > 0) {
      await rpc(db, "store_token_sample", {
        file_id: counted.id,
        counter: model.tokenizer ?? "characters",
        sample,
      });
    }
    return { file: estimateFile(size, sample, counter, maxLength), counter, hides: sample.hides };
  } catch (error) {
    // A job is not held up by its estimate. It is tried again for the next one.
    logError(`counting the tokens of file ${counted.id}`, error);
    return { file: estimateFile(size, null, counter, maxLength), counter, hides: null };
  }
}

/** What a file's check tells that an estimate needs. */
const Report = z.looseObject({
  rows: z.int().optional(),
  rows_without_labels: z.int().optional(),
  tokens: z.looseObject({ total: z.number(), learned: z.number() }).optional(),
});

/** The tokens of each epoch's validation, and of what the answers' likelihoods before a dpo training take. */
function forwardOnly(tokens: Range, validation: Range | null, plan: TrainingHyperparameters): Range {
  const none = { low: 0, expected: 0, high: 0 };
  const validated = times(validation ?? none, plan.num_epochs + (plan.method === "dpo" ? 1 : 0));
  return plan.method === "dpo" ? plus(validated, tokens) : validated;
}

function trainingSeconds(
  total: Range,
  forward: Range,
  model: BaseModelRow,
): Range | null {
  const speed = model.tokens_per_second;
  if (speed === null) return null;
  const of = (which: keyof Range, speed: number) =>
    Math.round(
      startSeconds[which] + (total[which] + forward[which] * forwardShare) / speed,
    );
  return {
    low: of("low", speed * speedDoubt.fast),
    expected: of("expected", speed),
    high: of("high", speed * speedDoubt.slow),
  };
}

function tokensRestOn(file: FileEstimate, counter: "tokenizer" | "characters"): string {
  if (file.method === "by_size") {
    return "The file's check or its size alone, at 2.5 to 7 bytes a token: its rows could not be counted one by one.";
  }
  if (file.method === "counted") {
    return "Every row was counted by the base model's own tokenizer and template.";
  }
  const { low, expected, high } = file.tokens;
  const off = expected === 0 ? 0 : Math.round(Math.max(high - expected, expected - low) / expected * 100);
  return counter === "tokenizer"
    ? `${file.sampled} rows, spread over the file, were counted by the base model's own tokenizer; the sum may be ` +
      `off by ${off} % (95 %).`
    : `${file.sampled} rows were counted by their characters (about four bytes a token), as the operator has ` +
      `registered no tokenizer for this model; the sum may be off by ${off} %.`;
}

/** A plan that learns next to nothing, by its steps. */
export function warnOfSteps(steps: number, rows: number, plan: TrainingHyperparameters): string[] {
  const warnings: string[] = [];
  if (steps <= 1) {
    warnings.push(
      `The plan has one step for ${rows} rows (n_epochs ${plan.num_epochs}, batch_size ${plan.batch_size}), which teaches ` +
        "next to nothing. Use more epochs, or a smaller batch_size.",
    );
  }
  if (plan.warmup_steps !== null && plan.warmup_steps >= steps) {
    warnings.push(
      `warmup_steps = ${plan.warmup_steps} takes all of the about ${steps} steps: the learning rate never gets to ` +
        `${plan.learning_rate}. Use fewer.`,
    );
  }
  return warnings;
}

function warn(file: FileEstimate, maxLength: number): string[] {
  const warnings: string[] = [];
  const about = file.method === "counted" ? "" : "about ";
  if (file.truncated.expected > 0) {
    warnings.push(
      `${about}${file.truncated.expected} rows are longer than max_length = ${maxLength} tokens: their oldest part is cut.`,
    );
  }
  if (file.skipped.expected > 0) {
    warnings.push(
      `${about}${file.skipped.expected} rows have nothing to learn from and are left out.`,
    );
  }
  if (file.too_long > 0) {
    warnings.push(
      `${file.too_long} of the places that were looked at hold rows of over 48 KiB; they were not counted.`,
    );
  }
  return warnings;
}

const money = (usd: number) => Math.round(usd * 1e4) / 1e4;
const each = ({ low, expected, high }: Range, of: (value: number) => number): Range => ({
  low: of(low),
  expected: of(expected),
  high: of(high),
});
const plus = (a: Range, b: Range): Range => ({
  low: a.low + b.low,
  expected: a.expected + b.expected,
  high: a.high + b.high,
});
const times = (range: Range, factor: number, round: (value: number) => number = Math.round): Range => ({
  low: round(range.low * factor),
  expected: round(range.expected * factor),
  high: round(range.high * factor),
});
