/**
 * The objects that the API answers with, as zod schemas: the render functions are typed by them, and the OpenAPI document
 * is made of them. Nothing here runs in a function: they import its types alone.
 */
import * as z from "zod";
import { channelKinds, deliveryChannels } from "../../_shared/contracts/channels.ts";
import { metricShape } from "../../_shared/contracts/schemas.ts";
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

/** One of these words. The database's constraints hold it; its generated types say only that it is a text. */
const word = (...words: string[]) => z.string().meta({ enum: words });
const time = z.int().describe("Unix seconds");
const id = (prefix: string) => z.string().meta({ examples: [`${prefix}0192f5c8a1b27c3d8e4f5a6b7c8d9e0f`] });
/** An answer's schema: it may gain fields without being another API; and without the bounds of JavaScript's numbers. */
export function open(schema: z.core.JSONSchema.BaseSchema): void {
  if (schema.additionalProperties === false) delete schema.additionalProperties;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
}

/** What the database keeps as JSON: checked when it was written, and of no type when it is read. */
const stored = (schema: z.ZodType) => {
  const { $schema: _, ...shape } = z.toJSONSchema(schema, {
    io: "output",
    override: ({ jsonSchema }) => open(jsonSchema),
  });
  return z.unknown().meta(shape);
};
const count = z.int().min(0);
const usd = z.number().describe("US dollars");

/** A list of these. */
export const listOf = (item: z.ZodType) =>
  z.object({
    object: z.literal("list"),
    data: z.array(item),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  });

const Range = z.object({ low: z.number(), expected: z.number(), high: z.number() })
  .describe("95 of 100 lie between low and high");

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
  status: word(...fileStatuses).describe("`uploaded`: it is being checked"),
  status_details: z.string().nullable(),
  sha256: z.string().nullable(),
  report: stored(DatasetReport.nullable()).describe("What the check found; null until it is done"),
  source_format: z.string().nullable().meta({ examples: ["alpaca_csv"] }).describe(
    "The format that the file was converted from; null: its rows are trained on as they are",
  ),
  conversion: stored(Conversion.nullable()).describe("What the conversion did; null where there was none"),
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
    endpoint: z.url().describe("TUS 1.0; send `x-signature: {token}` with every request"),
    bucket: z.string(),
    object: z.string(),
    token: z.string(),
    content_type: z.string(),
    chunk_bytes: count,
  }).nullable().describe("Where to send the bytes; null once it is no longer pending"),
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

/** What POST /fine_tuning/estimates answers. */
export const JobEstimate = z.object({
  object: z.literal("fine_tuning.estimate"),
  model: z.string(),
  hyperparameters: z.looseObject({}),
  ...Estimate.shape,
});

const Hyperparameters = z.record(z.string(), z.union([z.number(), z.string(), z.boolean()]))
  .describe('What the job trains with; every "auto" is a number here');

export const Job = z.object({
  id: id("ftjob-"),
  object: z.literal("fine_tuning.job"),
  created_at: time,
  started_at: time.nullable(),
  finished_at: time.nullable().describe("null until the job has succeeded, failed or was cancelled"),
  estimated_finish: time.nullable(),
  status: word(...jobStatuses),
  stage: word(...stages).nullable(),
  model: z.string().describe("What was asked for: a base model, or an own fine-tune"),
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
  reserved_usd: usd.nullable().describe("Set aside for it until it ends"),
  pause_requested: z.boolean(),
  status_reason: z.string().nullable().describe("Why it waits"),
  queue: z.object({ position: count, position_in_project: count }).nullable(),
  auto_start: z.boolean(),
  estimate: stored(z.looseObject({}).nullable()).describe(
    "As of POST /fine_tuning/estimates; scored once it has succeeded",
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
  number: z.int().min(1).describe("Counts a job's events without gaps; the `id` of the event stream"),
}).meta({ id: "FineTuningJobEvent" });
export type Event = z.infer<typeof Event>;

export const Point = z.object(metricShape).meta({ id: "MetricsPoint" });

export const Metrics = z.object({
  object: z.literal("fine_tuning.job.metrics"),
  last_event: count.describe(
    "The number of an event up to which `data` has everything: follow those after it",
  ),
  total: count.describe("Steps that were logged, of which `data` shows the shape"),
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
  url: z.url().describe("Opens the file until `expires_at`"),
  expires_at: time,
}).meta({ id: "DownloadFile" });

export const Adapter = z.object({
  object: z.literal("fine_tuning.job.adapter"),
  job_id: id("ftjob-"),
  fine_tuned_model: z.string(),
  created_at: time,
  format: z.literal("peft-lora"),
  base_model: z.string(),
  base_source: z.string().describe("Where the base comes from: a hub id"),
  base_revision: z.string().nullable(),
  total_bytes: count,
  files: z.array(DownloadFile),
  manifest: z.looseObject({}).describe(
    "What it was made with: hyperparameters, data's hash, versions, each file's sha256",
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
  max_length: z.int().describe("Tokens of a row"),
  defaults: stored(z.looseObject({})).describe('What "auto" and what is left out become'),
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
    "USD in a calendar month (UTC). null: no cap, which an owner or the operator has set",
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
  role: word(...roles).nullable().describe("Yours; null for an API key"),
  limits: z.object({ ...limits, requests_per_minute: z.int() }),
  use: z.object({ running: count, jobs: count, storage_bytes: count, spent_usd: usd }).optional()
    .describe("Of the limits, this month; where one project is asked for"),
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
export const NewApiKey = ApiKey.extend({ key: z.string().describe("Shown here and never again") })
  .meta({ id: "NewApiKey" });

export const Me = z.object({
  object: z.literal("me"),
  user: z.object({ id: id("user-"), email: z.string().nullable() }).nullable(),
  api_key: ApiKey.nullable(),
  project: Project.nullable(),
  role: word(...roles).nullable(),
  scopes: z.array(z.string()),
  can_create_project: z.boolean().describe(
    "Whether POST /projects is open to you: where the operator has opened sign-up, and for owners of a project",
  ),
  hint: z.string().nullable().describe("What to do while you are in no project"),
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
    "Shown when it is made and when it is rotated, and never again",
  ),
  enabled: z.boolean(),
  disabled_reason: z.string().nullable(),
  disabled_at: time.nullable(),
  progress_seconds: z.int().describe("Progress is told at most once in so many seconds"),
  old_secret_active_until: time.nullable(),
}).meta({ id: "WebhookEndpoint" });
export type WebhookEndpoint = z.infer<typeof WebhookEndpoint>;

export const EndpointTest = z.object({
  object: z.literal("webhook_endpoint.test"),
  webhook_endpoint_id: id("whe_"),
  event_type: z.string(),
  status_code: z.int(),
  success: z.literal(true).describe("It answered; `status_code` says how"),
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
  read_at: time.nullable().describe("Yours"),
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

/** What a DELETE answers. */
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
    line: z.int().optional().describe("Of the file, from 1"),
  })).optional(),
  problem_count: z.int().optional().describe(
    "How many problems there are, where `errors` has only the first",
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
  }).describe("What OpenAI's SDKs read"),
}).meta({ id: "Problem" });
