/** Estimates a job's tokens, rows, steps, time, cost and memory, each with its basis. */
import { logError } from "../../../_shared/log.ts";
import * as z from "zod";
import { automaticEvalSteps, validationCount } from "../../../_shared/contracts/eval_schedule.ts";
import { heldOut } from "../../../_shared/contracts/held_out.ts";
import type { Method } from "../../../_shared/contracts/hyperparameters.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { Platform } from "../../../_shared/platform.ts";
import { GpuConfig, type TrainingHyperparameters } from "../../../_shared/protocol.ts";
import type { BaseModelRow, CountedFile, EstimateInputs } from "../../rows.ts";
import { countCharacters } from "./characters.ts";
import { estimateMemory, shardsByChoice } from "./memory.ts";
import { Sample, takeSample } from "./sample.ts";
import { estimateFile, type FileEstimate, type Range } from "./statistics.ts";

/** From a worker's claim to its first step: downloading the dataset and loading the model. Billed. */
const startSeconds: Range = { low: 30, expected: 120, high: 300 };
/** How much a run's speed can differ from the configured one. */
const speedRange = { slow: 0.7, fast: 1.25 };
/** The cost per token of a forward pass (as in validation), relative to a training step. */
const forwardCost = 1 / 3;

export type Estimate = ReturnType<typeof makeEstimate>;
type Counted = Awaited<ReturnType<typeof countFiles>>;

/** Estimates the job's files. Never fails: without a sample, the estimate is based on the file's size. */
export async function countFiles(platform: Platform, inputs: EstimateInputs, maxLength: number) {
  return {
    training: await countFile(platform, inputs.model, inputs.training, maxLength),
    validation: inputs.validation === null
      ? null
      : await countFile(platform, inputs.model, inputs.validation, maxLength),
  };
}

/** Estimates a job. */
export function makeEstimate(
  model: BaseModelRow,
  { training: { file, counter, unrendered }, validation: validationFile }: Counted,
  plan: TrainingHyperparameters,
) {
  // Both answers of a preference row go through the model, each with the prompt.
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
  const steps = { per_epoch: stepsPerEpoch, total: stepsPerEpoch * plan.num_epochs };
  const evalSteps = plan.eval_steps ??
    automaticEvalSteps(steps.total, plan.num_epochs, total.expected, validation?.expected ?? 0);
  // The first validation always improves, so at least this many steps are trained.
  const minSteps = (plan.early_stopping_patience + 1) * evalSteps;
  const mayStopEarly = validation !== null && plan.early_stopping_patience > 0 && minSteps < steps.total;
  if (mayStopEarly) total.low = Math.round(total.low * minSteps / steps.total);
  const validations = validationCount(steps.total, evalSteps);
  const fewest = mayStopEarly ? plan.early_stopping_patience + 1 : validations;
  const forward = forwardOnly(
    tokens,
    validation,
    { low: fewest, expected: validations, high: validations },
    plan.method,
  );
  const gpu = GpuConfig.parse(model.gpu_config);
  const gpus = `${gpu.num_gpus} × ${gpu.gpu_type}`; // as tunebase_internal.record_speed writes it
  const measured = model.measured_gpus === gpus ? model.measured_tokens_per_second : null;
  const speed = measured ?? model.tokens_per_second;
  const seconds = trainingSeconds(total, forward, speed);
  const perSecond = gpu.cost_per_gpu_hour * gpu.num_gpus / 3600;
  const warnings = [
    ...stepWarnings(steps.total, trained.expected, plan),
    ...rowWarnings(file, plan.max_length),
  ];
  if (unrendered === "tools") {
    warnings.push(
      "Rows declare tools, but this model's chat template does not render them. The answers are trained without them.",
    );
  }
  const memory = estimateMemory(model, gpu, plan, longest);
  if (memory.fits === false) {
    warnings.push(
      `The run may not fit in GPU memory: it needs at least about ${memory.required_gb?.low} GB, but a GPU has ` +
        `${memory.available_gb} GB. Use a smaller max_length.`,
    );
  }
  if (shardsByChoice(model, gpu, plan, longest)) {
    warnings.push(
      `The base model is trained in bf16, sharded across ${gpu.num_gpus} GPUs. Each step gathers its layers, which can ` +
        "take longer than the configured or measured speed implies. With `quantization` `nf4`, each GPU holds a complete copy: " +
        "faster, but less accurate.",
    );
  }
  return {
    tokens: {
      method: file.method,
      per_epoch: tokens,
      total,
      trainable_tokens_per_epoch: times(
        file.trainable,
        trained.expected / Math.max(1, file.trained.expected),
      ),
      validation,
      basis: tokenBasis(file, counter) +
        (mayStopEarly ? ` \`total.low\` assumes early stopping after ${minSteps} steps.` : ""),
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
        ? "Unavailable: no throughput (tokens_per_second) is configured for this model."
        : `${Math.round(speed ?? 0)} tokens per second, as ${
          measured === null ? "configured" : `measured in ${jobCount(model.measured_jobs)}`
        } on ${gpus}, ` +
          `plus about ${startSeconds.expected} s until the first step` +
          (sides === 2 ? " and one forward pass over all answers" : "") +
          ". Time in the queue is not included and not billed.",
    },
    cost: {
      usd: seconds === null ? null : times(seconds, perSecond, money),
      basis: seconds === null
        ? "Unavailable, because the time estimate is."
        : `The time at ${gpu.cost_per_gpu_hour} USD per GPU hour, for ${gpu.num_gpus} ${
          gpu.num_gpus === 1 ? "GPU" : "GPUs"
        }. ` +
          "`high` is reserved from the project's spend cap.",
    },
    memory,
    warnings,
  };
}

/**
 * Splits the counts like the trainer, which holds out rows evenly from the file sorted by length. So their tokens are
 * proportional, to within the length of two rows.
 */
function split(file: FileEstimate, share: number, longest: number) {
  const held = each(file.trained, (rows) => heldOut(rows, share));
  const trained = each(file.trained, (rows) => rows - heldOut(rows, share));
  if (share === 0) return { trained, held, tokens: file.tokens, heldTokens: null };
  const fraction = held.expected / Math.max(1, file.trained.expected);
  const scale = ({ low, expected, high }: Range, factor: number) => ({
    low: Math.max(0, Math.floor(low * factor - 2 * longest)),
    expected: Math.round(expected * factor),
    high: Math.ceil(high * factor + 2 * longest),
  });
  return {
    trained,
    held,
    tokens: scale(file.tokens, 1 - fraction),
    heldTokens: scale(file.tokens, fraction),
  };
}

/** Estimates a file from its stored sample, or from a new one, which is then stored. */
async function countFile(
  { db, supabase, settings }: Platform,
  model: BaseModelRow,
  counted: CountedFile,
  maxLength: number,
): Promise<{ file: FileEstimate; counter: "tokenizer" | "characters"; unrendered: Sample["unrendered"] }> {
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
    return { file: estimateFile(size, sample, counter, maxLength), counter, unrendered: sample.unrendered };
  }
  try {
    const counting = model.tokenizer === null
      ? { count: countCharacters, support: null }
      : await (await import("./tokenizer.ts")).loadCounter(supabase, model.tokenizer);
    const sample = await takeSample(
      supabase,
      counted.object,
      counted.bytes,
      counting,
      settings.tokenCountBudgetMs,
    );
    // Do not store an empty sample: the next one may have more time.
    if (sample.rows.length > 0) {
      await rpc(db, "store_token_sample", {
        file_id: counted.id,
        counter: model.tokenizer ?? "characters",
        sample,
      });
    }
    return { file: estimateFile(size, sample, counter, maxLength), counter, unrendered: sample.unrendered };
  } catch (error) {
    // An estimate must not block a job.
    logError(`counting tokens of file ${counted.id}`, error);
    return { file: estimateFile(size, null, counter, maxLength), counter, unrendered: null };
  }
}

/** The parts of a validation report that an estimate uses. */
const Report = z.looseObject({
  rows: z.int().optional(),
  rows_without_labels: z.int().optional(),
  tokens: z.looseObject({ total: z.number(), trainable: z.number() }).optional(),
});

/** Tokens of forward passes: each validation and, for DPO, the reference likelihoods before training. */
function forwardOnly(tokens: Range, validation: Range | null, validations: Range, method: Method): Range {
  const { low, expected, high } = validation ?? { low: 0, expected: 0, high: 0 };
  const reference = method === "dpo" ? 1 : 0;
  const validated = {
    low: low * (validations.low + reference),
    expected: expected * (validations.expected + reference),
    high: high * (validations.high + reference),
  };
  return method === "dpo" ? plus(validated, tokens) : validated;
}

function trainingSeconds(
  total: Range,
  forward: Range,
  speed: number | null,
): Range | null {
  if (speed === null) return null;
  const of = (which: keyof Range, speed: number) =>
    Math.round(
      startSeconds[which] + (total[which] + forward[which] * forwardCost) / speed,
    );
  return {
    low: of("low", speed * speedRange.fast),
    expected: of("expected", speed),
    high: of("high", speed * speedRange.slow),
  };
}

const jobCount = (count: number) => count === 1 ? "a finished job" : `${count} finished jobs`;

function tokenBasis(file: FileEstimate, counter: "tokenizer" | "characters"): string {
  if (file.method === "by_size") {
    return "Based on the file's validation report or its size (2.5 to 7 bytes per token): its rows could not be counted.";
  }
  if (file.method === "counted") {
    return "All rows were counted with the base model's tokenizer and chat template.";
  }
  const { low, expected, high } = file.tokens;
  const error = expected === 0 ? 0 : Math.round(Math.max(high - expected, expected - low) / expected * 100);
  return counter === "tokenizer"
    ? `${file.sampled} rows, spread over the file, were counted with the base model's tokenizer. The total is accurate to ` +
      `±${error}% (95% confidence).`
    : `${file.sampled} rows were counted by their characters (about four bytes per token), because no tokenizer is ` +
      `registered for this model. The total is accurate to ±${error}%.`;
}

/** Warns if the run has too few steps. */
export function stepWarnings(steps: number, rows: number, plan: TrainingHyperparameters): string[] {
  const warnings: string[] = [];
  if (steps <= 1) {
    warnings.push(
      `The run has only one step for ${
        count(rows, "row")
      } (n_epochs ${plan.num_epochs}, batch_size ${plan.batch_size}), ` +
        "which is too few to learn much. Use more epochs or a smaller batch_size.",
    );
  }
  if (plan.warmup_steps !== null && plan.warmup_steps >= steps) {
    warnings.push(
      `warmup_steps = ${plan.warmup_steps} covers all of the about ${steps} steps, so the learning rate never reaches ` +
        `${plan.learning_rate}. Use fewer.`,
    );
  }
  return warnings;
}

function rowWarnings(file: FileEstimate, maxLength: number): string[] {
  const warnings: string[] = [];
  const about = file.method === "counted" ? "" : "About ";
  if (file.truncated.expected > 0) {
    warnings.push(
      `${about}${
        count(file.truncated.expected, "row")
      } longer than max_length (${maxLength} tokens) will be truncated from the start.`,
    );
  }
  if (file.skipped.expected > 0) {
    warnings.push(
      `${about}${count(file.skipped.expected, "row")} without trainable tokens will be skipped.`,
    );
  }
  if (file.too_long > 0) {
    warnings.push(
      `${count(file.too_long, "sampled position")} had rows of over 48 KiB, which were not counted.`,
    );
  }
  return warnings;
}

const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? "" : "s"}`;
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
