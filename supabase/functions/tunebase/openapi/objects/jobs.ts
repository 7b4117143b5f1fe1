/** Fine-tuning jobs, their estimates, events, metrics and checkpoints. */
import * as z from "zod";
import { Evaluation, metricShape } from "../../../_shared/contracts/schemas.ts";
import { jobEventTypes, jobStatuses, logLevels, stages } from "../../../_shared/contracts/statuses.ts";
import { count, id, stored, time, usd, word } from "./fields.ts";

const Range = z.object({ low: z.number(), expected: z.number(), high: z.number() })
  .describe("A 95% interval");

export const Estimate = z.object({
  tokens: z.object({
    method: word("counted", "sampled", "by_size"),
    per_epoch: Range,
    total: Range,
    trainable_tokens_per_epoch: Range,
    validation: Range.nullable(),
    basis: z.string(),
  }),
  rows: z.object({ total: Range, trained: Range, truncated: Range, skipped: Range }),
  steps: z.object({ per_epoch: count, total: count }),
  time: z.object({ seconds: Range.nullable(), basis: z.string() }),
  cost: z.object({ usd: Range.nullable(), basis: z.string() }),
  memory: z.object({
    required_gb: Range.nullable(),
    available_gb: z.number().nullable(),
    fits: z.boolean().nullable(),
    basis: z.string(),
  }),
  warnings: z.array(z.string()),
}).meta({ id: "Estimate" });

/** The response of POST /fine_tuning/estimates. */
export const JobEstimate = z.object({
  object: z.literal("fine_tuning.estimate"),
  model: z.string(),
  hyperparameters: z.looseObject({}),
  ...Estimate.shape,
});

const Hyperparameters = z.record(z.string(), z.union([z.number(), z.string(), z.boolean()]))
  .describe('The hyperparameters of the run, with "auto" resolved');

export const Job = z.object({
  id: id("ftjob-"),
  object: z.literal("fine_tuning.job"),
  created_at: time,
  started_at: time.nullable(),
  finished_at: time.nullable().describe("null until the job has succeeded, failed or been cancelled"),
  estimated_finish: time.nullable(),
  status: word(...jobStatuses),
  stage: word(...stages).nullable(),
  model: z.string().describe("The requested model: a base model or one of your fine-tuned models"),
  base_model: z.string(),
  fine_tuned_model: z.string().nullable(),
  training_file: id("file-"),
  validation_file: id("file-").nullable(),
  hyperparameters: stored(Hyperparameters),
  method: z.discriminatedUnion("type", [
    z.object({
      type: z.literal("supervised"),
      supervised: z.object({ hyperparameters: stored(Hyperparameters) }),
    }),
    z.object({ type: z.literal("dpo"), dpo: z.object({ hyperparameters: stored(Hyperparameters) }) }),
  ]),
  seed: z.int(),
  suffix: z.string().nullable(),
  metadata: stored(z.record(z.string(), z.string()).nullable()),
  integrations: z.array(z.discriminatedUnion("type", [
    z.object({
      type: z.literal("wandb"),
      wandb: z.object({
        project: z.string(),
        entity: z.string().nullable(),
        name: z.string().nullable(),
        tags: z.array(z.string()),
      }),
    }),
    z.object({
      type: z.literal("huggingface"),
      huggingface: z.object({
        repo: z.string(),
        private: z.boolean(),
        url: z.string().nullable().describe("The repository's page; null until the adapter has been pushed"),
      }),
    }),
  ])).nullable(),
  organization_id: id("proj_"),
  result_files: z.array(id("file-")),
  trained_tokens: count.nullable(),
  progress: z.number().min(0).max(100).describe("Percent"),
  current_epoch: z.number().nullable(),
  total_epochs: z.number().nullable(),
  current_step: count.nullable(),
  total_steps: count.nullable(),
  tokens_per_second: z.number().nullable(),
  training_loss: z.number().nullable(),
  running_seconds: count.nullable().describe(
    "Seconds that GPU workers have spent on the job, without the time that it was queued or paused; null in lists",
  ),
  cost_usd: usd,
  spend_cap_usd: usd.nullable(),
  reserved_usd: usd.nullable().describe("Reserved from the project's spend cap until the job finishes"),
  pause_requested: z.boolean(),
  status_reason: z.string().nullable().describe("Why the job is waiting"),
  queue: z.object({ position: count, position_in_project: count }).nullable(),
  auto_start: z.boolean(),
  estimate: stored(z.looseObject({}).nullable()).describe(
    "The estimate of POST /fine_tuning/estimates; with its accuracy once the job has succeeded",
  ),
  evaluation: stored(Evaluation.nullable()).describe(
    "The base and the fine-tuned model compared on the validation rows, or on training rows if there are none; null until " +
      "the job has succeeded",
  ),
  error: z.object({
    code: z.string(),
    message: z.string(),
    param: z.string().nullable(),
    hint: z.string().nullable(),
  }).nullable(),
}).meta({ id: "FineTuningJob" });
export type Job = z.infer<typeof Job>;

export const Event = z.object({
  id: id("ftevent-"),
  object: z.literal("fine_tuning.job.event"),
  created_at: time,
  level: word(...logLevels),
  message: z.string(),
  type: word(...jobEventTypes),
  data: stored(z.looseObject({}).nullable()),
  number: z.int().min(1).describe(
    "The event's number within the job, without gaps; the `id` in event streams",
  ),
}).meta({ id: "FineTuningJobEvent" });
export type Event = z.infer<typeof Event>;

export const Point = z.object(metricShape).meta({ id: "MetricsPoint" });

export const Metrics = z.object({
  object: z.literal("fine_tuning.job.metrics"),
  last_event: count.describe(
    "`data` includes everything up to the event with this number. Stream the events after it",
  ),
  total: count.describe("The number of logged steps, before downsampling"),
  data: z.array(Point),
}).meta({ id: "FineTuningJobMetrics" });

export const Checkpoint = z.object({
  id: id("ftckpt-"),
  object: z.literal("fine_tuning.job.checkpoint"),
  created_at: time,
  fine_tuning_job_id: id("ftjob-"),
  fine_tuned_model_checkpoint: z.string(),
  step_number: z.int(),
  metrics: z.object({ step: z.int(), train_loss: z.number().optional(), valid_loss: z.number().optional() }),
}).meta({ id: "FineTuningJobCheckpoint" });
export type Checkpoint = z.infer<typeof Checkpoint>;
