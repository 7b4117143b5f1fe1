/**
 * The protocol between Tunebase and its trainer, declared once.
 *
 * `deno task types` writes these schemas as JSON Schema to `trainer/protocol.schema.json`. The tests of both sides read the
 * same example messages, `tests/fixtures/protocol_messages.json`.
 *
 * Every callback is `POST {callback_url}/{claim|report|uploads|verify|finish}` with a JSON body, signed according to
 * Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`) with the attempt's `callback_secret`. A retry
 * sends the same body with the same `webhook-id`. All of these calls are safe to repeat.
 */
import * as z from "zod";
import {
  findHubRepositoryProblem,
  hubRepositoryPattern,
  maxHubRepositoryLength,
} from "./contracts/hub_repository.ts";
import { trainingMethods } from "./contracts/hyperparameters.ts";
import { limits } from "./contracts/limits.ts";
import { Evaluation, reportedMetricShape, trainerShape } from "./contracts/schemas.ts";
import { logLevels, stages } from "./contracts/statuses.ts";
import { trainerErrorCodes } from "./contracts/trainer_errors.ts";

/** The stage of a run. */
export const Stage = z.enum(stages);

/** The worker's directive: continue, or how to end. `stop`: this worker no longer holds the attempt. */
export const Directive = z.enum(["continue", "cancel", "pause", "stop"]);
export type Directive = z.infer<typeof Directive>;

/** Why an attempt failed. */
export const TrainerErrorCode = z.enum(trainerErrorCodes);

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const finite = z.number();
const count = z.int().min(0);
/** The maximum of a Postgres integer. */
const maxInteger = 2 ** 31 - 1;
const step = z.int().min(1).max(maxInteger);
const stepCount = z.int().min(0).max(maxInteger);
const fence = z.int().min(1).max(maxInteger);
/** Fits a Postgres real, which has six digits. */
const epochs = z.number().min(0).max(1e6);
const workerId = z.string().min(1).max(200);
/** A relative path without special characters: it becomes part of a Storage object's name. */
const artifactPath = z.string().max(200).regex(
  /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/,
);

/**
 * Logging to Weights & Biases, with the worker's key. The limits are W&B's. Only hyperparameters and logged steps are sent,
 * never training data.
 */
export const Wandb = z.strictObject({
  project: z.string().min(1).max(128).regex(/^[^/\\#?%:]+$/, "must not contain / \\ # ? % :"),
  entity: z.string().min(1).max(64).nullable().default(null),
  name: z.string().min(1).max(128).nullable().default(null),
  tags: z.array(z.string().min(1).max(64)).max(50).default([]),
});

/**
 * The Hugging Face Hub's repository that the adapter is pushed to before the attempt finishes, with the worker's token
 * (HF_PUSH_TOKEN). `private` is the visibility of a new repository; if true, an existing public repository is rejected.
 */
export const HuggingFace = z.strictObject({
  repo: z.string()
    .max(maxHubRepositoryLength)
    .regex(hubRepositoryPattern, {
      error: ({ input }) => findHubRepositoryProblem(String(input)) ?? "",
      abort: true,
    })
    .refine((repo) => findHubRepositoryProblem(repo) === null, {
      error: ({ input }) => findHubRepositoryProblem(String(input)) ?? "",
    }),
  private: z.boolean().default(true),
});

/**
 * `base_model`: a hub id, `package:<PyPI name>`, or a directory; `base_revision` pins a hub id. `contracts/hyperparameters.ts`
 * declares the others. `warmup_steps` takes precedence over `warmup_ratio`. `beta` applies to method `dpo`; null means 0.1.
 */
export const TrainingHyperparameters = z.strictObject({
  base_model: z.string().min(1).max(300),
  base_revision: z.string().max(100).nullable().default(null),
  method: z.enum(trainingMethods).default("supervised"),
  ...trainerShape,
  wandb: Wandb.nullable().default(null),
  huggingface: HuggingFace.nullish(),
});

export type TrainingHyperparameters = z.infer<typeof TrainingHyperparameters>;

export const GpuConfig = z.strictObject({
  gpu_type: z.string().max(100),
  num_gpus: z.int().min(1).max(limits.maxGpus),
  gpu_memory_gb: z.number().min(0),
  cost_per_gpu_hour: z.number().min(0),
});

/**
 * `input` of RunPod's /run. `dataset_url` only names the object. The claim returns a signed URL, because a URL signed here
 * could expire in the queue and would be echoed in RunPod's webhook. Without `callback_url` (called directly through
 * RunPod), `dataset_url` must be downloadable as it is.
 */
export const RunInput = z.strictObject({
  job_id: z.uuid(),
  attempt: z.int().min(1),
  dataset_url: z.url(),
  validation_url: z.url().nullable().default(null),
  hyperparameters: TrainingHyperparameters,
  gpu_config: GpuConfig,
  /** RunPod ends the run after this time; the trainer saves a checkpoint before. null: no limit. */
  execution_timeout_seconds: z.int().min(1).nullable().default(null),
  /** Without `callback_url`: the trainer uploads a tar of the adapter here by PUT, to a URL that needs no further authorization. */
  adapter_upload_url: z.url().nullable().optional(),
  callback_url: z.url().nullable().default(null),
  callback_secret: z.string().startsWith("whsec_").nullable().default(null),
});
export type RunInput = z.infer<typeof RunInput>;

/** A worker's first call: claims the attempt before it uses GPU time. */
export const ClaimRequest = z.strictObject({
  worker_id: workerId,
  runpod_job_id: z.string().max(200).nullable(),
});

export const ArtifactFile = z.strictObject({ path: artifactPath, bytes: z.int().min(1), sha256 });
export type ArtifactFile = z.infer<typeof ArtifactFile>;

/** A file to download: `url` is valid for an hour. */
const FetchedFile = z.strictObject({ ...ArtifactFile.shape, url: z.url() });

/** The checkpoint to resume from, saved after `step` by an earlier attempt or holder. */
export const Resume = z.strictObject({
  step,
  files: z.array(FetchedFile).min(1).max(limits.filesPerArtifact),
});

/** An earlier fine-tune of the same base model, from whose adapter training starts. `resume` takes precedence. */
export const StartFrom = z.strictObject({ files: z.array(FetchedFile).min(1).max(limits.filesPerArtifact) });

/** `claimed: false`: another worker holds the attempt, or it has ended. Stop before using GPU time. */
export const ClaimReply = z.discriminatedUnion("claimed", [
  z.strictObject({
    claimed: z.literal(true),
    fence,
    /** The length of the lease, which each report extends. */
    lease_seconds: z.int().min(1),
    /** Report at least this often, even if nothing has changed. */
    report_seconds: z.int().min(1),
    dataset_url: z.url(),
    dataset_sha256: sha256,
    validation_url: z.url().nullable(),
    validation_sha256: sha256.nullable(),
    /** null: start from scratch. */
    resume: Resume.nullable(),
    /** null: start with a new adapter. */
    start_from: StartFrom.nullable().default(null),
    /** How often to save a checkpoint, approximately. */
    checkpoint_seconds: z.int().min(1),
  }),
  z.strictObject({ claimed: z.literal(false), reason: z.enum(["held", "ended"]), detail: z.string() }),
]);

/** One logged optimizer step. null: unknown. `contracts/metrics.ts` has the units. */
export const Metric = z.strictObject(reportedMetricShape);
export type Metric = z.infer<typeof Metric>;

/** A line for the job's log. */
export const LogEvent = z.strictObject({
  level: z.enum(logLevels),
  message: z.string().min(1).max(2000),
});

/**
 * A checkpoint whose files are uploaded and verified, below `checkpoints/{step}/`: the adapter after `step`, and the state
 * that exact resumption needs.
 */
export const CheckpointReport = z.strictObject({
  step,
  epoch: epochs,
  training_loss: finite.nullable(),
  validation_loss: finite.nullable(),
  files: z.array(ArtifactFile).min(1).max(limits.filesPerArtifact),
});

/**
 * What has happened since the last report. `sequence` counts 1, 2, 3 … per fencing token; a report with an old sequence
 * changes nothing. `seconds_left` is the trainer's estimate.
 */
export const ReportRequest = z.strictObject({
  worker_id: workerId,
  fence,
  sequence: z.int().min(1).max(maxInteger),
  stage: Stage,
  progress: finite.min(0).max(100),
  current_epoch: epochs,
  total_epochs: epochs.nullable(),
  current_step: stepCount,
  total_steps: stepCount.nullable(),
  trained_tokens: count,
  /** At most a thousand years, so that the sum with now() is a valid timestamp. */
  seconds_left: finite.min(0).max(3.2e10).nullable(),
  metrics: z.array(Metric).max(limits.metricsPerReport),
  events: z.array(LogEvent).max(limits.eventsPerReport),
  checkpoints: z.array(CheckpointReport).max(limits.checkpointsPerReport).default([]),
});
export type ReportRequest = z.infer<typeof ReportRequest>;
/** `lease_until`: when this worker's lease expires (Unix seconds); null if it has none. */
export const ReportReply = z.strictObject({ directive: Directive, lease_until: z.int().nullable() });

/**
 * Requests upload targets. A worker requests those of the adapter early and renews them every hour. If it cannot reach
 * Tunebase at the end, it still uploads the files, `manifest.json` (a Manifest) last, and reconciliation recovers them.
 */
export const UploadsRequest = z.strictObject({
  worker_id: workerId,
  fence,
  paths: z.array(artifactPath).min(1).max(limits.filesPerArtifact),
});

/**
 * One target per file: a resumable (TUS 1.0) upload to `endpoint`, with `upload-metadata` buckets.adapters, objectName,
 * contentType and the header `x-signature: token` on every request, in chunks of `chunk_bytes`.
 */
export const UploadsReply = z.strictObject({
  directive: Directive,
  targets: z.array(z.strictObject({
    path: artifactPath,
    endpoint: z.url(),
    bucket: z.string(),
    object: z.string(),
    token: z.string(),
    content_type: z.string(),
    chunk_bytes: z.int().min(1),
  })),
});

/** Verifies an uploaded file: Tunebase moves it out of the upload token's reach, reads it back and compares. One per call. */
export const VerifyRequest = z.strictObject({
  worker_id: workerId,
  fence,
  file: ArtifactFile,
});
export const VerifyReply = z.strictObject({
  directive: Directive,
  verified: z.boolean(),
  detail: z.string().nullable(),
});

/** Describes an adapter: what is needed to load it, and how it was trained. */
export const Manifest = z.strictObject({
  format: z.literal("peft-lora"),
  base_model: z.string(),
  base_revision: z.string().nullable(),
  files: z.array(ArtifactFile).min(1).max(limits.filesPerArtifact),
  trained_tokens: count,
  steps: z.int().min(1),
  first_loss: finite.nullable(),
  last_loss: finite.nullable(),
  /** The step with the lowest validation loss, whose weights the adapter has. null: there was no validation. */
  best_step: z.int().min(1).nullable().default(null),
  best_validation_loss: finite.nullable().default(null),
  hyperparameters: TrainingHyperparameters,
  /** Whether the base model was sharded across the GPUs. */
  base_sharded: z.boolean().default(false),
  trainable_parameters: z.int().min(1),
  dataset_sha256: sha256,
  /** Training rows; and validation rows, held out or from the validation file. */
  rows: z.int().min(1),
  validation_rows: count.default(0),
  versions: z.record(z.string(), z.string()),
  /** The chat template that rendered the rows. Serving must use the same one. */
  chat_template_sha256: sha256.nullable().default(null),
  /** null: the operator disabled it, or it failed. */
  evaluation: Evaluation.nullable().default(null),
});
export type Manifest = z.infer<typeof Manifest>;

const ended = { worker_id: workerId, fence };
/** A worker's final call. `succeeded` requires that every file in the manifest is verified. */
export const FinishRequest = z.discriminatedUnion("outcome", [
  z.strictObject({
    ...ended,
    outcome: z.literal("succeeded"),
    manifest: Manifest,
    /** The repository's page, if the adapter was pushed to the Hugging Face Hub. */
    hub_url: z.url().regex(/^https?:\/\//).max(500).nullable().default(null),
  }),
  z.strictObject({
    ...ended,
    outcome: z.literal("failed"),
    error_code: TrainerErrorCode,
    error_message: z.string().min(1).max(2000),
    hint: z.string().max(2000),
  }),
  z.strictObject({ ...ended, outcome: z.literal("cancelled") }),
  /** Paused by directive. The newest checkpoint has the progress. */
  z.strictObject({ ...ended, outcome: z.literal("paused") }),
  /** The platform is about to end the worker, or its time limit is near. Another resumes from the newest checkpoint. */
  z.strictObject({ ...ended, outcome: z.literal("preempted"), reason: z.string().min(1).max(500) }),
]);
export type FinishRequest = z.infer<typeof FinishRequest>;

/** `accepted: false`: the attempt has already ended, or files are not verified (listed in `detail`). */
export const FinishReply = z.strictObject({ accepted: z.boolean(), detail: z.string().nullable() });

/** What the handler returns to RunPod. If it has `error`, RunPod reports the job as FAILED. */
export const HandlerOutput = z.union([
  z.strictObject({
    status: z.literal("completed"),
    job_id: z.uuid(),
    adapter_path: z.string(),
    progress: z.literal(100),
    metrics: Metric.nullable(),
    manifest: Manifest,
    /** What was uploaded to `adapter_upload_url`. */
    adapter_uploaded: z.strictObject({ bytes: z.int().min(1), sha256 }).optional(),
    /** Called directly: the adapter is lost with the container. */
    warning: z.string().optional(),
  }),
  z.strictObject({
    status: z.literal("failed"),
    job_id: z.string(),
    error: z.string(),
    error_message: z.string(),
    error_code: z.string(),
    hint: z.string(),
  }),
  z.strictObject({
    status: z.enum(["cancelled", "refused", "paused", "preempted"]),
    job_id: z.uuid(),
    detail: z.string(),
  }),
]);

/** What RunPod's /status shows while the handler is running. */
export const HandlerProgress = z.strictObject({
  status: z.literal("running"),
  progress: finite.min(0).max(100),
  current_epoch: finite,
  current_step: count,
  stage: Stage,
  metrics: Metric.nullable(),
});

/** The messages by their names in the JSON Schema and the example messages. */
export const messages = {
  RunInput,
  ClaimRequest,
  ClaimReply,
  ReportRequest,
  ReportReply,
  UploadsRequest,
  UploadsReply,
  VerifyRequest,
  VerifyReply,
  FinishRequest,
  FinishReply,
  HandlerOutput,
  HandlerProgress,
};
