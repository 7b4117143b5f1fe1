/**
 * Every operation of the API, for the OpenAPI document: the schemas that check its requests, the objects that it answers
 * with, and the errors that it can meet. A test compares this list with the app's routes.
 */
import * as z from "zod";
import type { ErrorCode } from "../../_shared/errors.ts";
import type { Scope } from "../../_shared/contracts/scopes.ts";
import { eventTypes } from "../../_shared/contracts/event_types.ts";
import { JobBody } from "../job_request.ts";
import { limits } from "../paging.ts";
import * as apiKeys from "../routes/api_keys.ts";
import * as direct from "../routes/file_direct.ts";
import * as fileCreate from "../routes/file_create.ts";
import * as fileList from "../routes/file_list.ts";
import * as jobEvents from "../routes/job_events.ts";
import * as jobList from "../routes/job_list.ts";
import * as jobMetrics from "../routes/job_metrics.ts";
import * as members from "../routes/members.ts";
import * as channels from "../routes/notification_channels.ts";
import * as notifications from "../routes/notifications.ts";
import * as projects from "../routes/projects.ts";
import * as uploads from "../routes/upload.ts";
import * as usage from "../routes/usage.ts";
import * as deliveries from "../routes/webhook_deliveries.ts";
import * as endpoints from "../routes/webhook_endpoints.ts";
import * as secret from "../routes/webhook_secret.ts";
import * as endpointTest from "../routes/webhook_test.ts";
import * as o from "./objects.ts";

/** A body by its content type. */
export type Content = Record<string, z.ZodType>;

export interface Operation {
  method: "get" | "post" | "delete";
  /** With `{parameters}`. */
  path: string;
  /** The operation's name in generated clients. */
  id: string;
  tag: string;
  summary: string;
  description?: string;
  /** What the credentials must be allowed; "any": every caller; "none": no credentials at all. */
  scope: Scope | "any" | "person" | "none";
  query?: z.ZodObject;
  body?: Content;
  /** A body that works as it is. */
  example?: unknown;
  answers: Record<number, { description: string; content?: Content }>;
  /** Beside those that every operation of its kind can meet. */
  errors: ErrorCode[];
  /** Changes with If-Match. */
  ifMatch?: boolean;
}

const json = (schema: z.ZodType): Content => ({ "application/json": schema });
const ok = (schema: z.ZodType, description = "Done") => ({ 200: { description, content: json(schema) } });
const page = (most = 100) => limits(most);
type Rest = Omit<Operation, "method" | "path" | "id" | "summary" | "tag">;
const group = (tag: string) =>
(
  line: `${"GET" | "POST" | "DELETE"} /${string}`,
  id: string,
  summary: string,
  rest: Rest,
): Operation => {
  const [method = "", path = ""] = line.split(" ");
  return { method: method.toLowerCase() as Operation["method"], path, id, tag, summary, ...rest };
};

const files = group("Files");
const sampleFile = { filename: "rows.jsonl", bytes: 1_073_741_824, purpose: "fine-tune" };
const jobs = group("Fine-tuning");
const sampleJob = {
  model: "SmolLM2-135M-Instruct",
  training_file: "file-0192f5c8a1b27c3d8e4f5a6b7c8d9e0f",
  suffix: "support",
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 3, batch_size: "auto" } } },
  metadata: { team: "support" },
};
const jobErrors: ErrorCode[] = [
  "model_not_found",
  "file_not_found",
  "file_not_ready",
  "wrong_purpose",
  "unsupported",
  "adapter_deleted",
  "project_archived",
];
const models = group("Models");
const project = group("Projects and keys");
const hooks = group("Webhooks");
const people = group("Notifications");
const other = group("Service");
const projectErrors: ErrorCode[] = ["project_not_found"];

export const operations: Operation[] = [
  files("POST /files", "createFile", "Upload a file to train on", {
    description:
      "JSON lines, up to 32 MiB, gzip too. Up to 4 MiB it is validated in the request: 400 with the rows' errors. A larger one is `uploaded` and validated in the background. Beyond 32 MiB: /uploads or /files/direct.",
    scope: "files:write",
    body: { "multipart/form-data": fileCreate.Form.extend({ file: z.file() }) },
    answers: ok(o.File),
    errors: ["invalid_multipart", "invalid_file", "quota_exceeded", "project_archived"],
  }),
  files("GET /files", "listFiles", "List files", {
    scope: "files:read",
    query: page(10_000).extend(fileList.Query.shape),
    answers: ok(o.listOf(o.File)),
    errors: [],
  }),
  files("GET /files/{id}", "getFile", "Get a file, with what its check found", {
    scope: "files:read",
    answers: ok(o.File),
    errors: ["file_not_found"],
  }),
  files("GET /files/{id}/content", "getFileContent", "Download a file", {
    scope: "files:read",
    answers: {
      200: {
        description: "Its bytes; a result file's CSV",
        content: { "application/octet-stream": z.file(), "text/csv": z.string() },
      },
    },
    errors: ["file_not_found", "file_not_ready"],
  }),
  files("DELETE /files/{id}", "deleteFile", "Delete a file", {
    scope: "files:write",
    answers: ok(o.Deleted),
    errors: ["file_not_found", "file_in_use"],
  }),
  files("POST /files/direct", "createDirectUpload", "Begin a resumable upload straight to Storage", {
    description: "For files of up to 5 GiB. Send the bytes with a TUS client to `target`, then complete it.",
    scope: "files:write",
    body: json(direct.Body),
    example: sampleFile,
    answers: ok(o.DirectUpload),
    errors: ["quota_exceeded", "quota_exceeded", "project_archived"],
  }),
  files("GET /files/direct/{id}", "getDirectUpload", "Get a direct upload, signed anew", {
    description: "A signature lives two hours, an upload a day.",
    scope: "files:write",
    answers: ok(o.DirectUpload),
    errors: ["upload_not_found"],
  }),
  files("POST /files/direct/{id}/complete", "completeDirectUpload", "Make a file of a direct upload", {
    description: "The file is checked in the background.",
    scope: "files:write",
    answers: ok(o.File),
    errors: [
      "upload_not_found",
      "upload_not_pending",
      "upload_missing",
      "upload_size",
      "file_not_found",
      "quota_exceeded",
      "project_archived",
    ],
  }),
  files("POST /uploads", "createUpload", "Begin an upload in parts, as OpenAI's", {
    scope: "files:write",
    body: json(uploads.Body),
    example: { ...sampleFile, mime_type: "application/jsonl" },
    answers: ok(o.Upload),
    errors: ["quota_exceeded", "quota_exceeded", "project_archived"],
  }),
  files("POST /uploads/{id}/parts", "addUploadPart", "Add a part of up to 64 MiB", {
    scope: "files:write",
    body: { "multipart/form-data": z.object({ data: z.file() }) },
    answers: ok(o.UploadPart),
    errors: [
      "upload_not_found",
      "upload_not_pending",
      "invalid_multipart",
      "too_many_parts",
      "upload_size",
      "project_archived",
    ],
  }),
  files("POST /uploads/{id}/complete", "completeUpload", "Make a file of the parts", {
    scope: "files:write",
    body: json(uploads.Completion),
    example: { part_ids: ["part_0192f5c8a1b27c3d8e4f5a6b7c8d9e0f"] },
    answers: ok(o.Upload),
    errors: [
      "upload_not_found",
      "upload_not_pending",
      "part_not_found",
      "upload_size",
      "quota_exceeded",
      "project_archived",
    ],
  }),
  files("POST /uploads/{id}/cancel", "cancelUpload", "Cancel an upload", {
    scope: "files:write",
    answers: ok(o.Upload),
    errors: ["upload_not_found", "upload_not_pending", "project_archived"],
  }),

  jobs("POST /fine_tuning/estimates", "createEstimate", "What a job would take; nothing is created", {
    scope: "jobs:write",
    body: json(JobBody),
    example: sampleJob,
    answers: ok(
      z.object({
        object: z.literal("fine_tuning.estimate"),
        model: z.string(),
        hyperparameters: z.looseObject({}),
        ...o.Estimate.shape,
      }),
    ),
    errors: jobErrors,
  }),
  jobs("POST /fine_tuning/jobs", "createJob", "Create a job", {
    description: "Sent again with the same Idempotency-Key, or by an SDK's own retry, it is one job.",
    scope: "jobs:write",
    body: json(JobBody),
    example: sampleJob,
    answers: ok(o.Job),
    errors: [...jobErrors, "quota_exceeded", "spend_cap_exceeded"],
  }),
  jobs("GET /fine_tuning/jobs", "listJobs", "List jobs, the newest first", {
    description: "`metadata[key]=value` filters by metadata.",
    scope: "jobs:read",
    query: page().extend(jobList.Filter.shape),
    answers: ok(o.listOf(o.Job)),
    errors: [],
  }),
  jobs("GET /fine_tuning/jobs/{id}", "getJob", "Get a job", {
    scope: "jobs:read",
    answers: ok(o.Job),
    errors: ["job_not_found"],
  }),
  ...([
    ["cancel", "Cancel a job", "Final at once; its GPU is told right after.", ["job_already_finished"]],
    ["pause", "Pause a job", "A worker saves a checkpoint first.", ["job_already_finished"]],
    ["resume", "Resume a paused job, from its checkpoint", "", ["job_already_finished", "job_not_paused"]],
    ["start", "Start a job that was created with `auto_start: false`", "", [
      "job_already_finished",
      "job_already_started",
    ]],
  ] as [string, string, string, ErrorCode[]][]).map(([move, summary, description, errors]) =>
    jobs(`POST /fine_tuning/jobs/{id}/${move}`, `${move}Job`, summary, {
      ...(description === "" ? {} : { description }),
      scope: "jobs:write",
      answers: ok(o.Job),
      errors: ["job_not_found", "project_archived", "spend_cap_exceeded", "quota_exceeded", ...errors],
    })
  ),
  jobs("GET /fine_tuning/jobs/{id}/events", "listJobEvents", "A job's log and metrics", {
    description:
      "As they come with `Accept: text/event-stream`: goes on after `Last-Event-ID`, and ends with `done`.",
    scope: "jobs:read",
    query: page().extend(jobEvents.Query.shape),
    answers: {
      200: {
        description: "The newest first; as a stream the oldest first",
        content: { ...json(o.listOf(o.Event)), "text/event-stream": z.string() },
      },
      204: { description: "A stream that has come to its end: do not come back" },
    },
    errors: ["job_not_found", "too_many_streams"],
  }),
  jobs("GET /fine_tuning/jobs/{id}/metrics", "getJobMetrics", "The whole run for a chart", {
    description: "Downsampled to `points`; spikes and both ends stay.",
    scope: "jobs:read",
    query: jobMetrics.Query,
    answers: ok(o.Metrics),
    errors: ["job_not_found"],
  }),
  jobs("GET /fine_tuning/jobs/{id}/checkpoints", "listJobCheckpoints", "The newest checkpoints", {
    scope: "jobs:read",
    query: page(),
    answers: ok(o.listOf(o.Checkpoint)),
    errors: ["job_not_found"],
  }),
  jobs(
    "GET /fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter",
    "getCheckpointAdapter",
    "A checkpoint's files",
    {
      scope: "jobs:read",
      answers: ok(o.CheckpointAdapter),
      errors: ["job_not_found", "checkpoint_not_found"],
    },
  ),
  jobs("GET /fine_tuning/jobs/{id}/adapter", "getAdapter", "The adapter: manifest and download links", {
    scope: "jobs:read",
    answers: ok(o.Adapter),
    errors: ["job_not_found", "adapter_not_ready", "adapter_deleted"],
  }),

  models("GET /models", "listModels", "The base models on offer, and your own fine-tunes", {
    scope: "models:read",
    answers: ok(o.listOf(z.union([o.BaseModel, o.FineTunedModel]))),
    errors: [],
  }),
  models("GET /models/{id}", "getModel", "Get a model", {
    scope: "models:read",
    answers: ok(z.union([o.BaseModel, o.FineTunedModel])),
    errors: ["model_not_found"],
  }),
  models("DELETE /models/{id}", "deleteModel", "Delete an own fine-tune and its files", {
    scope: "jobs:write",
    answers: ok(o.Deleted),
    errors: ["model_not_found", "model_not_own", "model_in_use"],
  }),

  project("GET /me", "getMe", "Who you are and what you may do", {
    scope: "any",
    answers: ok(o.Me),
    errors: [],
  }),
  project("GET /usage", "getUsage", "Jobs, tokens, GPU time and cost by day", {
    scope: "jobs:read",
    query: usage.Query,
    answers: ok(o.Usage),
    errors: ["invalid_time_zone"],
  }),
  project("GET /projects", "listProjects", "List your projects", {
    scope: "any",
    query: page().extend(projects.Query.shape),
    answers: ok(o.listOf(o.Project)),
    errors: ["insufficient_scope"],
  }),
  project("POST /projects", "createProject", "Make a project", {
    scope: "person",
    body: json(projects.Create),
    example: { name: "Support" },
    answers: ok(o.Project),
    errors: ["signup_closed", "quota_exceeded"],
  }),
  project("GET /projects/{id}", "getProject", "Get a project, with what it uses", {
    scope: "project:read",
    answers: ok(o.Project),
    errors: projectErrors,
  }),
  project("POST /projects/{id}", "updateProject", "Change a project's name and limits", {
    scope: "project:admin",
    body: json(projects.Update),
    example: { limits: { running: 2, spent_usd: 100 } },
    answers: ok(o.Project),
    errors: [...projectErrors, "project_archived", "quota_exceeded", "spend_cap_too_high"],
    ifMatch: true,
  }),
  project("POST /projects/{id}/archive", "archiveProject", "Put a project away", {
    scope: "project:admin",
    answers: ok(o.Project),
    errors: [...projectErrors, "project_busy"],
    ifMatch: true,
  }),
  project("POST /projects/{id}/restore", "restoreProject", "Take it out again", {
    scope: "project:admin",
    answers: ok(o.Project),
    errors: [...projectErrors, "quota_exceeded"],
    ifMatch: true,
  }),
  project("GET /projects/{id}/members", "listMembers", "List a project's members", {
    scope: "project:read",
    query: page(),
    answers: ok(o.listOf(o.Member)),
    errors: projectErrors,
  }),
  project("POST /projects/{id}/members", "inviteMember", "Invite somebody by e-mail address", {
    scope: "project:admin",
    body: json(members.Invite),
    example: { email: "ada@example.com", role: "developer" },
    answers: { 202: { description: "Invited", content: json(o.Invitation) } },
    errors: [...projectErrors, "member_exists", "project_archived", "quota_exceeded"],
  }),
  project("POST /projects/{id}/members/{user_id}", "updateMember", "Change a member's role", {
    scope: "project:admin",
    body: json(members.Update),
    example: { role: "viewer" },
    answers: ok(o.Member),
    errors: [...projectErrors, "member_not_found", "last_owner", "project_archived", "quota_exceeded"],
  }),
  project("DELETE /projects/{id}/members/{user_id}", "removeMember", "Remove a member, or leave", {
    scope: "project:admin",
    answers: ok(o.Deleted),
    errors: [...projectErrors, "member_not_found", "last_owner"],
  }),
  project("GET /projects/{id}/invitations", "listInvitations", "List a project's open invitations", {
    scope: "project:admin",
    answers: ok(o.listOf(o.Invitation)),
    errors: projectErrors,
  }),
  project(
    "DELETE /projects/{id}/invitations/{invitation_id}",
    "deleteInvitation",
    "Take an invitation back",
    {
      scope: "project:admin",
      answers: ok(o.Deleted),
      errors: [...projectErrors, "invitation_not_found"],
    },
  ),
  project("GET /invitations", "listMyInvitations", "List the invitations to your address", {
    scope: "person",
    answers: ok(o.listOf(o.Invitation)),
    errors: [],
  }),
  project("POST /invitations/{id}/accept", "acceptInvitation", "Accept an invitation", {
    scope: "person",
    answers: ok(o.AnsweredInvitation),
    errors: ["invitation_not_found", "project_archived", "quota_exceeded"],
  }),
  project("POST /invitations/{id}/decline", "declineInvitation", "Decline an invitation", {
    scope: "person",
    answers: ok(o.AnsweredInvitation),
    errors: ["invitation_not_found"],
  }),
  project("GET /api_keys", "listApiKeys", "List a project's API keys", {
    scope: "project:read",
    query: page(),
    answers: ok(o.listOf(o.ApiKey)),
    errors: [],
  }),
  project("POST /api_keys", "createApiKey", "Make an API key; it is shown once", {
    scope: "project:admin",
    body: json(apiKeys.Create),
    example: { name: "ci", scopes: ["files:write", "jobs:write", "jobs:read"] },
    answers: ok(o.NewApiKey),
    errors: ["project_archived", "quota_exceeded"],
  }),
  project("GET /api_keys/{id}", "getApiKey", "Get an API key", {
    scope: "project:read",
    answers: ok(o.ApiKey),
    errors: ["api_key_not_found"],
  }),
  project("POST /api_keys/{id}", "updateApiKey", "Rename, narrow or end an API key", {
    scope: "project:admin",
    body: json(apiKeys.Update),
    example: { name: "ci, old" },
    answers: ok(o.ApiKey),
    errors: ["api_key_not_found", "api_key_revoked", "project_archived"],
    ifMatch: true,
  }),
  project("DELETE /api_keys/{id}", "revokeApiKey", "Revoke an API key", {
    scope: "project:admin",
    answers: ok(o.Deleted),
    errors: ["api_key_not_found"],
    ifMatch: true,
  }),

  hooks("GET /webhook_event_types", "listWebhookEventTypes", "The types of events", {
    scope: "webhooks:read",
    answers: ok(z.object({ object: z.literal("list"), data: z.array(z.enum(eventTypes)) })),
    errors: [],
  }),
  hooks("POST /webhook_endpoints", "createWebhookEndpoint", "Make a webhook endpoint", {
    description: "Its signing secret is shown here, and when it is rotated.",
    scope: "webhooks:write",
    body: json(endpoints.Create),
    example: { name: "Ours", url: "https://example.com/hook", event_types: ["fine_tuning.job.succeeded"] },
    answers: ok(o.WebhookEndpoint),
    errors: ["quota_exceeded", "project_archived"],
  }),
  hooks("GET /webhook_endpoints", "listWebhookEndpoints", "List webhook endpoints", {
    scope: "webhooks:read",
    query: page(),
    answers: ok(o.listOf(o.WebhookEndpoint)),
    errors: [],
  }),
  hooks("GET /webhook_endpoints/{id}", "getWebhookEndpoint", "Get a webhook endpoint", {
    scope: "webhooks:read",
    answers: ok(o.WebhookEndpoint),
    errors: ["webhook_endpoint_not_found"],
  }),
  hooks("POST /webhook_endpoints/{id}", "updateWebhookEndpoint", "Change a webhook endpoint", {
    scope: "webhooks:write",
    body: json(endpoints.Update),
    example: { enabled: true },
    answers: ok(o.WebhookEndpoint),
    errors: ["webhook_endpoint_not_found", "project_archived"],
    ifMatch: true,
  }),
  hooks("DELETE /webhook_endpoints/{id}", "deleteWebhookEndpoint", "Delete a webhook endpoint", {
    scope: "webhooks:write",
    answers: ok(o.Deleted),
    errors: ["webhook_endpoint_not_found"],
    ifMatch: true,
  }),
  hooks("POST /webhook_endpoints/{id}/rotate_secret", "rotateWebhookSecret", "Take the next signing secret", {
    scope: "webhooks:write",
    body: json(secret.Body),
    example: { keep_old_secret_active_for_24_hours: true },
    answers: ok(o.WebhookEndpoint),
    errors: ["webhook_endpoint_not_found", "project_archived"],
    ifMatch: true,
  }),
  hooks("POST /webhook_endpoints/{id}/test", "testWebhookEndpoint", "Send a sample event now", {
    scope: "webhooks:write",
    body: json(endpointTest.Body),
    example: { event_type: "fine_tuning.job.succeeded" },
    answers: ok(o.EndpointTest),
    errors: ["webhook_endpoint_not_found", "receiver_unreachable"],
  }),
  hooks(
    "POST /webhook_endpoints/{id}/replay",
    "replayWebhookEndpoint",
    "Send all that failed since a time again",
    {
      scope: "webhooks:write",
      body: json(deliveries.Since),
      example: { since: 1_795_000_000 },
      answers: ok(o.EndpointReplay),
      errors: ["webhook_endpoint_not_found", "receiver_disabled", "project_archived"],
    },
  ),
  hooks("GET /webhook_deliveries", "listWebhookDeliveries", "What was sent and what came back", {
    scope: "webhooks:read",
    query: page().extend(deliveries.Query.shape),
    answers: ok(o.listOf(o.Delivery)),
    errors: [],
  }),
  hooks("GET /webhook_deliveries/{id}", "getWebhookDelivery", "Get a delivery, with each try", {
    scope: "webhooks:read",
    answers: ok(o.DeliveryWithLog),
    errors: ["webhook_delivery_not_found"],
  }),
  hooks("POST /webhook_deliveries/{id}/replay", "replayWebhookDelivery", "Send one again", {
    scope: "webhooks:write",
    answers: ok(o.DeliveryWithLog),
    errors: [
      "webhook_delivery_not_found",
      "receiver_disabled",
      "project_archived",
      "email_not_member",
      "email_limit_reached",
    ],
  }),
  hooks("POST /webhook_sink", "swallowEvent", "Take an event and keep nothing", {
    description:
      "For an endpoint that exists for the log of its deliveries, as that of `tunebase webhooks listen`.",
    scope: "none",
    answers: { 204: { description: "Taken" } },
    errors: [],
  }),

  people("GET /notifications", "listNotifications", "List notifications", {
    scope: "jobs:read",
    query: page().extend(notifications.Query.shape),
    answers: ok(o.listOf(o.Notification).extend({ unread_count: z.int() })),
    errors: [],
  }),
  people("POST /notifications/read", "readAllNotifications", "Mark all as read", {
    scope: "jobs:read",
    answers: ok(o.NotificationsRead),
    errors: ["user_required"],
  }),
  people("POST /notifications/{id}/read", "readNotification", "Mark one as read", {
    scope: "jobs:read",
    answers: ok(o.NotificationsRead),
    errors: ["notification_not_found", "user_required"],
  }),
  people("POST /notification_channels", "createNotificationChannel", "Tell people by e-mail or Slack", {
    scope: "webhooks:write",
    body: json(channels.Create),
    example: { kind: "email", target: "ada@example.com" },
    answers: ok(o.Channel),
    errors: ["email_not_configured", "email_not_member", "quota_exceeded", "project_archived"],
  }),
  people("GET /notification_channels", "listNotificationChannels", "List channels", {
    scope: "webhooks:read",
    query: page(),
    answers: ok(o.listOf(o.Channel)),
    errors: [],
  }),
  people("POST /notification_channels/{id}", "updateNotificationChannel", "Change a channel", {
    scope: "webhooks:write",
    body: json(channels.Update),
    example: { enabled: true },
    answers: ok(o.Channel),
    errors: ["notification_channel_not_found", "project_archived"],
    ifMatch: true,
  }),
  people("DELETE /notification_channels/{id}", "deleteNotificationChannel", "Delete a channel", {
    scope: "webhooks:write",
    answers: ok(o.Deleted),
    errors: ["notification_channel_not_found"],
    ifMatch: true,
  }),
  people("POST /notification_channels/{id}/test", "testNotificationChannel", "Send a test now", {
    scope: "webhooks:write",
    answers: ok(o.ChannelTest),
    errors: [
      "notification_channel_not_found",
      "receiver_unreachable",
      "email_not_configured",
      "email_not_member",
      "email_limit_reached",
    ],
  }),

  other("GET /health", "getHealth", "Is it up", {
    scope: "none",
    answers: {
      200: { description: "All is well", content: json(o.Health) },
      503: { description: "A part cannot be reached", content: json(o.Health) },
    },
    errors: [],
  }),
  other("GET /openapi.json", "getOpenApi", "This document", {
    scope: "none",
    answers: ok(z.looseObject({}), "OpenAPI 3.1"),
    errors: [],
  }),
  other("GET /docs", "getDocs", "This document as a page", {
    scope: "none",
    answers: { 200: { description: "A page", content: { "text/html": z.string() } } },
    errors: [],
  }),
];
