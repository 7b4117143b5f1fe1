/**
 * Schemas of the API's response objects. The serializers use their types and the OpenAPI document is generated from them.
 * Functions import only the types.
 */
import * as z from "zod";
import { channelKinds, deliveryChannels } from "../../_shared/contracts/channels.ts";
import { Evaluation, metricShape } from "../../_shared/contracts/schemas.ts";
import {
  deliveryStatuses,
  filePurposes,
  fileStatuses,
  jobEventTypes,
  jobStatuses,
  logLevels,
  projectStatuses,
  roles,
  stages,
  uploadStatuses,
} from "../../_shared/contracts/statuses.ts";
import { DatasetReport } from "./dataset_report.ts";

/** An enum of which the generated database types know only that it is a string. A check constraint enforces the values. */
const word = (...words: string[]) => z.string().meta({ enum: words });
const time = z.int().describe("Unix seconds");
const id = (prefix: string) => z.string().meta({ examples: [`${prefix}0192f5c8a1b27c3d8e4f5a6b7c8d9e0f`] });
/** Allows additional properties, so that adding a field does not break clients, and drops JavaScript's integer bounds. */
export function loosen(schema: z.core.JSONSchema.BaseSchema): void {
  if (schema.additionalProperties === false) delete schema.additionalProperties;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
}

/** A JSON column: validated when it is written, untyped when it is read. */
const stored = (schema: z.ZodType) => {
  const { $schema: _, ...shape } = z.toJSONSchema(schema, {
    io: "output",
    override: ({ jsonSchema }) => loosen(jsonSchema),
  });
  return z.unknown().meta(shape);
};
const count = z.int().min(0);
const usd = z.number().describe("US dollars");

export const listOf = (item: z.ZodType) =>
  z.object({
    object: z.literal("list"),
    data: z.array(item),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  });

const Range = z.object({ low: z.number(), expected: z.number(), high: z.number() })
  .describe("A 95% interval");

const Conversion = z.object({
  rows: count,
  ignored_fields: z.array(z.string()),
  sample: z.array(z.object({ line: z.int().min(1), before: z.string(), after: z.string() })).optional()
    .describe(
      "The first three rows, as JSON that may be cut; left out in lists",
    ),
}).loose();

export const File = z.object({
  id: id("file-"),
  object: z.literal("file"),
  bytes: count,
  created_at: time,
  expires_at: time.nullable(),
  filename: z.string(),
  purpose: word(...filePurposes),
  status: word(...fileStatuses).describe("`uploaded`: validation is in progress"),
  status_details: z.string().nullable(),
  sha256: z.string().nullable(),
  report: stored(DatasetReport.nullable()).describe(
    "The validation report; null until validation is complete",
  ),
  source_format: z.string().nullable().meta({ examples: ["alpaca_csv", "prompt_completion_jsonl"] }).describe(
    "The row format and the container that the file was converted from; null: not converted",
  ),
  conversion: stored(Conversion.nullable()).describe("A summary of the conversion; null: not converted"),
}).meta({ id: "File" });
export type File = z.infer<typeof File>;

export const Upload = z.object({
  id: id("upload_"),
  object: z.literal("upload"),
  bytes: count,
  created_at: time,
  expires_at: time,
  filename: z.string(),
  purpose: word("fine-tune"),
  status: word(...uploadStatuses),
  file: File.nullable(),
}).meta({ id: "Upload" });
export type Upload = z.infer<typeof Upload>;

export const DirectUpload = Upload.extend({
  target: z.object({
    endpoint: z.url().describe("A TUS 1.0 endpoint. Send `x-signature: {token}` with every request"),
    bucket: z.string(),
    object: z.string(),
    token: z.string(),
    content_type: z.string(),
    chunk_bytes: count,
  }).nullable().describe("Where to upload the file; null once the upload is no longer pending"),
}).meta({ id: "DirectUpload" });

export const UploadPart = z.object({
  id: id("part_"),
  object: z.literal("upload.part"),
  created_at: time,
  upload_id: id("upload_"),
}).meta({ id: "UploadPart" });

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
  integrations: z.array(z.object({
    type: z.literal("wandb"),
    wandb: z.object({
      project: z.string(),
      entity: z.string().nullable(),
      name: z.string().nullable(),
      tags: z.array(z.string()),
    }),
  })).nullable(),
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

const DownloadFile = z.object({
  path: z.string(),
  bytes: count,
  sha256: z.string(),
  url: z.url().describe("A download URL that is valid until `expires_at`"),
  expires_at: time,
}).meta({ id: "DownloadFile" });

export const Adapter = z.object({
  object: z.literal("fine_tuning.job.adapter"),
  job_id: id("ftjob-"),
  fine_tuned_model: z.string(),
  created_at: time,
  format: z.literal("peft-lora"),
  base_model: z.string(),
  base_source: z.string().describe("The source of the base model: a Hub id"),
  base_revision: z.string().nullable(),
  total_bytes: count,
  files: z.array(DownloadFile),
  manifest: z.looseObject({}).describe(
    "How the adapter was trained: hyperparameters, dataset hash, library versions, and the SHA-256 of each file",
  ),
}).meta({ id: "Adapter" });

export const CheckpointAdapter = z.object({
  object: z.literal("fine_tuning.job.checkpoint.adapter"),
  job_id: id("ftjob-"),
  checkpoint_id: id("ftckpt-"),
  fine_tuned_model_checkpoint: z.string(),
  step_number: z.int(),
  base_model: z.string(),
  total_bytes: count,
  files: z.array(DownloadFile),
}).meta({ id: "CheckpointAdapter" });

export const BaseModel = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: time,
  owned_by: z.string(),
  max_length: z.int().describe("The maximum length of a row in tokens"),
  defaults: stored(z.looseObject({})).describe('The values of "auto" and of omitted hyperparameters'),
  gpu: stored(z.object({
    gpu_type: z.string(),
    num_gpus: z.int(),
    gpu_memory_gb: z.number(),
    cost_per_gpu_hour: z.number(),
  })),
  parameters: z.number().nullable(),
  tokens_per_second: z.number().nullable(),
}).meta({ id: "BaseModel" });
export type BaseModel = z.infer<typeof BaseModel>;

export const FineTunedModel = z.object({
  id: z.string().meta({ examples: ["ft:SmolLM2-135M-Instruct:acme:support:0f1e2d3c"] }),
  object: z.literal("model"),
  created: time,
  owned_by: id("proj_"),
  base_model: z.string(),
  job_id: id("ftjob-"),
  bytes: count,
}).meta({ id: "FineTunedModel" });
export type FineTunedModel = z.infer<typeof FineTunedModel>;
export const Model = z.union([BaseModel, FineTunedModel]);

const limits = {
  running: z.int(),
  jobs: z.int().nullable(),
  storage_bytes: z.int().nullable(),
  spent_usd: usd.nullable().describe(
    "USD per calendar month (UTC). null: no cap, as set by an owner or the operator",
  ),
};
export const Project = z.object({
  id: id("proj_"),
  object: z.literal("project"),
  name: z.string(),
  slug: z.string(),
  status: z.enum(projectStatuses),
  created_at: time,
  archived_at: time.nullable(),
  role: word(...roles).nullable().describe("Your role; null for API keys"),
  limits: z.object({ ...limits, requests_per_minute: z.int() }),
  use: z.object({ running: count, jobs: count, storage_bytes: count, spent_usd: usd }).optional()
    .describe("Usage of the limits, this month. Not included in lists"),
}).meta({ id: "Project" });
export type Project = z.infer<typeof Project>;

export const Member = z.object({
  id: id("user-"),
  object: z.literal("project.member"),
  email: z.string().nullable(),
  role: word(...roles),
  added_at: time,
}).meta({ id: "ProjectMember" });
export type Member = z.infer<typeof Member>;

export const Invitation = z.object({
  id: id("invite-"),
  object: z.literal("project.invitation"),
  project_id: id("proj_"),
  project_name: z.string().optional(),
  email: z.string(),
  role: word(...roles),
  invited_at: time,
  expires_at: time,
}).meta({ id: "ProjectInvitation" });
export type Invitation = z.infer<typeof Invitation>;
export const AnsweredInvitation = Invitation.extend({ status: z.enum(["accepted", "declined"]) })
  .meta({ id: "AnsweredInvitation" });

export const ApiKey = z.object({
  id: id("key_"),
  object: z.literal("api_key"),
  name: z.string(),
  hint: z.string().meta({ examples: ["tb_Ab3…x9Yz"] }),
  scopes: z.array(z.string()),
  created_at: time,
  created_by: id("user-").nullable(),
  last_used_at: time.nullable(),
  expires_at: time.nullable(),
  revoked_at: time.nullable(),
}).meta({ id: "ApiKey" });
export type ApiKey = z.infer<typeof ApiKey>;
export const NewApiKey = ApiKey.extend({ key: z.string().describe("The API key. It is only shown once") })
  .meta({ id: "NewApiKey" });

export const Me = z.object({
  object: z.literal("me"),
  user: z.object({ id: id("user-"), email: z.string().nullable() }).nullable(),
  api_key: ApiKey.nullable(),
  project: Project.nullable(),
  role: word(...roles).nullable(),
  scopes: z.array(z.string()),
  can_create_project: z.boolean().describe(
    "Whether you can create projects: if sign-up is open, or if you already own a project",
  ),
  hint: z.string().nullable().describe("How to get a project, if you have none"),
  invitations: z.array(Invitation),
}).meta({ id: "Me" });

const sums = {
  jobs_created: count,
  jobs_succeeded: count,
  jobs_failed: count,
  jobs_cancelled: count,
  trained_tokens: count,
  gpu_seconds: z.number(),
  cost_usd: usd,
};
export const Usage = z.object({
  object: z.literal("usage"),
  time_zone: z.string(),
  from: z.iso.date(),
  to: z.iso.date(),
  data: z.array(z.object({ date: z.iso.date(), ...sums })),
  total: z.object(sums),
}).meta({ id: "Usage" });

export const WebhookEndpoint = z.object({
  id: id("whe_"),
  object: z.literal("webhook_endpoint"),
  created_at: time,
  updated_at: time,
  name: z.string(),
  url: z.string(),
  event_types: z.array(z.string()),
  signing_secret_hint: z.string(),
  signing_secret: z.string().optional().describe(
    "Only included when the endpoint is created or its secret is rotated",
  ),
  enabled: z.boolean(),
  disabled_reason: z.string().nullable(),
  disabled_at: time.nullable(),
  progress_seconds: z.int().describe("The minimum number of seconds between two progress events"),
  old_secret_active_until: time.nullable(),
}).meta({ id: "WebhookEndpoint" });
export type WebhookEndpoint = z.infer<typeof WebhookEndpoint>;

export const EndpointTest = z.object({
  object: z.literal("webhook_endpoint.test"),
  webhook_endpoint_id: id("whe_"),
  event_type: z.string(),
  status_code: z.int(),
  success: z.literal(true).describe("The endpoint responded; see `status_code`"),
}).meta({ id: "WebhookEndpointTest" });

export const EndpointReplay = z.object({
  object: z.literal("webhook_endpoint.replay"),
  webhook_endpoint_id: id("whe_"),
  since: time,
  replayed: count,
}).meta({ id: "WebhookEndpointReplay" });

export const Delivery = z.object({
  id: id("whd_"),
  object: z.literal("webhook_delivery"),
  created_at: time,
  channel: word(...deliveryChannels),
  webhook_endpoint_id: id("whe_").nullable(),
  notification_channel_id: id("nch_").nullable(),
  event_id: id("evt_"),
  event_type: z.string(),
  fine_tuning_job_id: id("ftjob-").nullable(),
  status: word(...deliveryStatuses),
  reason: z.string().nullable(),
  tries: count,
  next_try_at: time.nullable(),
  last_tried_at: time.nullable(),
  delivered_at: time.nullable(),
  response_status: z.int().nullable(),
  error: z.string().nullable(),
  duration_ms: z.int().nullable(),
}).meta({ id: "WebhookDelivery" });
export type Delivery = z.infer<typeof Delivery>;

export const DeliveryTry = z.object({
  created_at: time,
  duration_ms: z.int(),
  request: z.object({
    method: z.string(),
    url: z.string(),
    headers: stored(z.record(z.string(), z.string())),
    body: z.string(),
  }),
  response: z.object({ status: z.int(), body: z.string().nullable() }).nullable(),
  error: z.string().nullable(),
}).meta({ id: "WebhookDeliveryTry" });
export type DeliveryTry = z.infer<typeof DeliveryTry>;

export const DeliveryWithLog = Delivery.extend({ body: z.string(), attempts: z.array(DeliveryTry) })
  .meta({ id: "WebhookDeliveryWithLog" });

export const Notification = z.object({
  id: id("ntf_"),
  object: z.literal("notification"),
  created_at: time,
  read_at: time.nullable().describe("When you read it"),
  type: z.string(),
  level: word(...logLevels),
  title: z.string(),
  text: z.string(),
  fine_tuning_job_id: id("ftjob-").nullable(),
}).meta({ id: "Notification" });
export type Notification = z.infer<typeof Notification>;

export const NotificationList = listOf(Notification).extend({ unread_count: z.int() });

export const NotificationsRead = z.object({ object: z.literal("notification.read"), unread_count: count })
  .meta({ id: "NotificationsRead" });

export const Channel = z.object({
  id: id("nch_"),
  object: z.literal("notification_channel"),
  created_at: time,
  updated_at: time,
  kind: word(...channelKinds),
  target: z.string(),
  event_types: z.array(z.string()),
  enabled: z.boolean(),
  disabled_reason: z.string().nullable(),
  disabled_at: time.nullable(),
}).meta({ id: "NotificationChannel" });
export type Channel = z.infer<typeof Channel>;

export const ChannelTest = z.object({
  object: z.literal("notification_channel.test"),
  notification_channel_id: id("nch_"),
  status_code: z.int(),
  success: z.boolean(),
  response: z.string().nullable(),
}).meta({ id: "NotificationChannelTest" });

export const Health = z.object({
  status: z.enum(["ok", "degraded"]),
  database: z.enum(["ok", "unreachable"]),
  storage: z.enum(["ok", "unreachable"]),
}).meta({ id: "Health" });

/** The response of a DELETE. */
export const Deleted = z.object({ id: z.string(), object: z.string(), deleted: z.literal(true) })
  .meta({ id: "Deleted" });

export const Problem = z.object({
  type: z.string().meta({ examples: ["urn:tunebase:error:invalid_request"] }),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  request_id: z.string(),
  errors: z.array(z.object({
    param: z.string().nullable(),
    message: z.string(),
    value: z.unknown().optional(),
    line: z.int().optional().describe("The line of the file, starting at 1"),
  })).optional(),
  problem_count: z.int().optional().describe(
    "The total number of problems, if `errors` lists only the first ones",
  ),
  error: z.object({
    message: z.string(),
    type: word(
      "invalid_request_error",
      "authentication_error",
      "permission_error",
      "not_found_error",
      "rate_limit_error",
      "server_error",
    ),
    param: z.string().nullable(),
    code: z.string(),
  }).describe("Read by OpenAI's SDKs"),
}).meta({ id: "Problem" });
