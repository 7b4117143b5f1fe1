/**
 * The protocol between Tunebase and its trainer, written once.
 *
 * `deno task types` writes these schemas as JSON Schema to `trainer/protocol.schema.json`; both sides' tests read
 * the same example messages, `tests/protocol_messages.json`.
 *
 * Every callback is `POST {callback_url}/{claim|report|uploads|verify|finish}`, JSON, signed as Standard Webhooks
 * says (`webhook-id`, `webhook-timestamp`, `webhook-signature`) with the attempt's `callback_secret`. A retry sends
 * the same body with the same `webhook-id`; every one of these calls is safe to repeat.
 */
import * as z from "zod";
import { methods } from "./contracts/hyperparameters.ts";
import { limits } from "./contracts/limits.ts";
import { reportedMetricShape, trainerShape } from "./contracts/schemas.ts";
import { logLevels, stages } from "./contracts/statuses.ts";
import { trainerErrorCodes } from "./contracts/trainer_errors.ts";

/** Where in a run the trainer is. */
export const Stage = z.enum(stages);

/** What a reply tells the worker: go on, or how to end. `stop`: this worker no longer holds the attempt. */
export const Order = z.enum(["continue", "cancel", "pause", "stop"]);
export type Order = z.infer<typeof Order>;

/** What went wrong with an attempt. */
export const TrainerErrorCode = z.enum(trainerErrorCodes);

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const finite = z.number();
const count = z.int().min(0);
/** What a column of type integer holds. */
const mostInteger = 2 ** 31 - 1;
const step = z.int().min(1).max(mostInteger);
const stepCount = z.int().min(0).max(mostInteger);
const fence = z.int().min(1).max(mostInteger);
/** A column of type real holds it with six digits. */
const epochs = z.number().min(0).max(1e6);
const workerId = z.string().min(1).max(200);
/** A relative path of plain names: it becomes part of an object's name in Storage. */
const artifactPath = z.string().max(200).regex(
  /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/,
);

/**
 * A run of Weights & Biases that shows what the job does; the worker has the key. A project's name and tags as W&B takes
 * them. What is sent: the hyperparameters and each logged step, nothing of the data.
 */
export const Wandb = z.strictObject({
  project: z.string().min(1).max(128).regex(/^[^/\\#?%:]+$/, "must be without / \\ # ? % :"),
  entity: z.string().min(1).max(64).nullable().default(null),
  name: z.string().min(1).max(128).nullable().default(null),
  tags: z.array(z.string().min(1).max(64)).max(50).default([]),
});

/**
 * `base_model`: a hub id, `package:<PyPI name>`, or a directory; `base_revision` pins a hub id. `contracts/hyperparameters.ts`
 * declares the rest. `warmup_steps` goes before `warmup_ratio`; `beta` belongs to method `dpo`, where null is 0.1.
 */
export const TrainingHyperparameters = z.strictObject({
  base_model: z.string().min(1).max(300),
  base_revision: z.string().max(100).nullable().default(null),
  method: z.enum(methods).default("supervised"),
  ...trainerShape,
  wandb: Wandb.nullable().default(null),
});

export type TrainingHyperparameters = z.infer<typeof TrainingHyperparameters>;

export const GpuConfig = z.strictObject({
  gpu_type: z.string().max(100),
  num_gpus: z.int().min(1).max(limits.maxGpus),
  gpu_memory_gb: z.number().min(0),
  cost_per_gpu_hour: z.number().min(0),
});

/**
 * `input` of RunPod's /run. `dataset_url` names the object; the URL that opens it comes with the claim, because one
 * signed here could expire in the queue and would be echoed in RunPod's webhook. Without `callback_url` (called
 * directly through RunPod) `dataset_url` must open by itself.
 */
export const RunInput = z.strictObject({
  job_id: z.uuid(),
  attempt: z.int().min(1),
  dataset_url: z.url(),
  validation_url: z.url().nullable().default(null),
  hyperparameters: TrainingHyperparameters,
  gpu_config: GpuConfig,
  /** RunPod ends the run so long after its start; the trainer saves a checkpoint before. null: it has no limit. */
  execution_timeout_seconds: z.int().min(1).nullable().default(null),
  /** Without `callback_url`: the trainer uploads a tar of the adapter here by PUT, to a URL that needs no further authorization. */
  adapter_upload_url: z.url().nullable().optional(),
  callback_url: z.url().nullable().default(null),
  callback_secret: z.string().startsWith("whsec_").nullable().default(null),
});
export type RunInput = z.infer<typeof RunInput>;

/** The first call of a worker: asks for the attempt, before it spends GPU time. */
export const ClaimRequest = z.strictObject({
  worker_id: workerId,
  runpod_job_id: z.string().max(200).nullable(),
});

export const ArtifactFile = z.strictObject({ path: artifactPath, bytes: z.int().min(1), sha256 });
export type ArtifactFile = z.infer<typeof ArtifactFile>;

/** A file that can be fetched: `url` opens it for an hour. */
const FetchedFile = z.strictObject({ ...ArtifactFile.shape, url: z.url() });

/** The checkpoint to go on from: what the trainer itself saved after `step`, by an earlier attempt or holder. */
export const Resume = z.strictObject({
  step,
  files: z.array(FetchedFile).min(1).max(limits.filesPerArtifact),
});

/** An earlier fine-tune of the same base, whose adapter training begins with. A `resume` goes before it. */
export const StartFrom = z.strictObject({ files: z.array(FetchedFile).min(1).max(limits.filesPerArtifact) });

/** `claimed: false`: another worker holds the attempt, or it has ended; stop, unpaid. */
export const ClaimReply = z.discriminatedUnion("claimed", [
  z.strictObject({
    claimed: z.literal(true),
    fence,
    /** The lease's length; a report extends it. */
    lease_seconds: z.int().min(1),
    /** Report at least this often, even when nothing is new. */
    report_seconds: z.int().min(1),
    dataset_url: z.url(),
    dataset_sha256: sha256,
    validation_url: z.url().nullable(),
    validation_sha256: sha256.nullable(),
    /** null: begin at the beginning. */
    resume: Resume.nullable(),
    /** null: begin with a fresh adapter. */
    start_from: StartFrom.nullable().default(null),
    /** Save a checkpoint about this often. */
    checkpoint_seconds: z.int().min(1),
  }),
  z.strictObject({ claimed: z.literal(false), reason: z.enum(["held", "ended"]), detail: z.string() }),
]);

/** One logged optimizer step. Units are in the names: tokens a second, percent, GiB; null until known. */
export const Metric = z.strictObject(reportedMetricShape);
export type Metric = z.infer<typeof Metric>;

/** A line for the job's log. */
export const LogEvent = z.strictObject({
  level: z.enum(logLevels),
  message: z.string().min(1).max(2000),
});

/**
 * A checkpoint whose files have been uploaded and verified, below `checkpoints/{step}/`: the adapter as it was after
 * `step`, and what training needs to go on from there exactly.
 */
export const CheckpointReport = z.strictObject({
  step,
  epoch: epochs,
  training_loss: finite.nullable(),
  validation_loss: finite.nullable(),
  files: z.array(ArtifactFile).min(1).max(limits.filesPerArtifact),
});

/**
 * What happened since the last report. `sequence` counts 1, 2, 3 … within a fence: a report whose sequence was seen
 * changes nothing. `seconds_left` is the trainer's own estimate.
 */
export const ReportRequest = z.strictObject({
  worker_id: workerId,
  fence,
  sequence: z.int().min(1).max(mostInteger),
  stage: Stage,
  progress: finite.min(0).max(100),
  current_epoch: epochs,
  total_epochs: epochs.nullable(),
  current_step: stepCount,
  total_steps: stepCount.nullable(),
  trained_tokens: count,
  /** At most a thousand years: what a timestamp can be added. */
  seconds_left: finite.min(0).max(3.2e10).nullable(),
  metrics: z.array(Metric).max(limits.metricsPerReport),
  events: z.array(LogEvent).max(limits.eventsPerReport),
  checkpoints: z.array(CheckpointReport).max(limits.checkpointsPerReport).default([]),
});
export type ReportRequest = z.infer<typeof ReportRequest>;
/** `lease_until`: until when (Unix seconds) the attempt is this worker's; null when it is not. */
export const ReportReply = z.strictObject({ order: Order, lease_until: z.int().nullable() });

/**
 * Asks where files may be uploaded. A worker asks for the adapter's early, and again each hour: should it not reach
 * Tunebase at the end, it uploads all the same, `manifest.json` (a Manifest) last, and reconciliation finds it.
 */
export const UploadsRequest = z.strictObject({
  worker_id: workerId,
  fence,
  paths: z.array(artifactPath).min(1).max(limits.filesPerArtifact),
});

/**
 * One target per file: a resumable (TUS 1.0) upload to `endpoint`, with `upload-metadata` bucketName, objectName,
 * contentType and the header `x-signature: token` on every request, in chunks of `chunk_bytes`.
 */
export const UploadsReply = z.strictObject({
  order: Order,
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

/** After a file's upload: Tunebase moves it out of the upload's reach, reads it back and compares. One file a call. */
export const VerifyRequest = z.strictObject({
  worker_id: workerId,
  fence,
  file: ArtifactFile,
});
export const VerifyReply = z.strictObject({
  order: Order,
  verified: z.boolean(),
  detail: z.string().nullable(),
});

/** What an adapter is: enough to load it, and to say on what and how it was trained. */
export const Manifest = z.strictObject({
  format: z.literal("peft-lora"),
  base_model: z.string(),
  base_revision: z.string().nullable(),
  files: z.array(ArtifactFile).min(1).max(limits.filesPerArtifact),
  trained_tokens: count,
  steps: z.int().min(1),
  first_loss: finite.nullable(),
  last_loss: finite.nullable(),
  /** Of the validations the one with the lowest loss: after which step. The adapter is that step's. null: none was made. */
  best_step: z.int().min(1).nullable().default(null),
  best_validation_loss: finite.nullable().default(null),
  hyperparameters: TrainingHyperparameters,
  trainable_parameters: z.int().min(1),
  dataset_sha256: sha256,
  /** Trained on, and held out or in the validation file. */
  rows: z.int().min(1),
  validation_rows: count.default(0),
  versions: z.record(z.string(), z.string()),
  /** Of the chat template that the rows were rendered with: serving needs the same. */
  chat_template_sha256: sha256.nullable().default(null),
});
export type Manifest = z.infer<typeof Manifest>;

const ended = { worker_id: workerId, fence };
/** The last call of a worker. `succeeded` needs every file of the manifest to be verified. */
export const FinishRequest = z.discriminatedUnion("outcome", [
  z.strictObject({ ...ended, outcome: z.literal("succeeded"), manifest: Manifest }),
  z.strictObject({
    ...ended,
    outcome: z.literal("failed"),
    error_code: TrainerErrorCode,
    error_message: z.string().min(1).max(2000),
    hint: z.string().max(2000),
  }),
  z.strictObject({ ...ended, outcome: z.literal("cancelled") }),
  /** By order; what was trained is in the newest checkpoint. */
  z.strictObject({ ...ended, outcome: z.literal("paused") }),
  /** The platform takes the worker away, or its time is nearly over; another goes on from the newest checkpoint. */
  z.strictObject({ ...ended, outcome: z.literal("preempted"), reason: z.string().min(1).max(500) }),
]);
export type FinishRequest = z.infer<typeof FinishRequest>;

/** `accepted: false`: the attempt had ended already, or files are not verified (`detail` says which). */
export const FinishReply = z.strictObject({ accepted: z.boolean(), detail: z.string().nullable() });

/** What the handler returns to RunPod. With `error` RunPod reports the job as FAILED. */
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

/** What polling RunPod's /status shows while the handler works. */
export const HandlerProgress = z.strictObject({
  status: z.literal("running"),
  progress: finite.min(0).max(100),
  current_epoch: finite,
  current_step: count,
  stage: Stage,
  metrics: Metric.nullable(),
});

/** The messages by name, as they appear in the generated JSON Schema and the example messages. */
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
