/** The error catalog: every code that the API returns, its HTTP status, and what to do about it. */

export interface ErrorEntry {
  status: 400 | 401 | 403 | 404 | 405 | 409 | 412 | 413 | 415 | 429 | 500 | 503 | 504;
  kind:
    | "invalid_request_error"
    | "authentication_error"
    | "permission_error"
    | "not_found_error"
    | "rate_limit_error"
    | "server_error";
  title: string;
  /** Renders the message; `detail` comes from the caller, or from SQL (`raise_api_error`). */
  message?: (detail: Record<string, unknown>) => string;
  /** Whether the same request may succeed later. Left out: only for server errors. */
  retryable?: boolean;
}

const entry =
  (status: ErrorEntry["status"], kind: ErrorEntry["kind"]) =>
  (title: string, message?: ErrorEntry["message"], retryable?: boolean): ErrorEntry => ({
    status,
    kind,
    title,
    ...(message === undefined ? {} : { message }),
    ...(retryable === undefined ? {} : { retryable }),
  });
const invalid = entry(400, "invalid_request_error");
const unauthorized = entry(401, "authentication_error");
const forbidden = entry(403, "permission_error");
const missing = entry(404, "not_found_error");
const conflict = entry(409, "invalid_request_error");
const tooMany = entry(429, "rate_limit_error");
const unavailable = entry(503, "server_error");

export const errorCodes = {
  invalid_json: invalid("Invalid JSON"),
  invalid_request: invalid("Invalid request"),
  invalid_multipart: invalid("Invalid multipart form"),
  invalid_file: invalid("Invalid training file"),
  model_not_found: missing(
    "Model not found",
    (d) =>
      `Model ${JSON.stringify(d.model)} is not available. Available: ${list(d.offered)}. See GET /models.`,
  ),
  model_not_servable: invalid(
    "The model cannot be called",
    (d) => `Model ${JSON.stringify(d.model)} cannot be called. ${d.reason}`,
  ),
  model_files_invalid: conflict(
    "The model's files are invalid",
    (d) =>
      `The files of model ${
        JSON.stringify(d.model)
      } ${d.problem}. Train it again, or call one of its checkpoints.`,
  ),
  store_not_enabled: invalid(
    "The project does not store completions",
    (d) =>
      "store = true: this project does not store completions. An owner can turn it on: " +
      `POST /projects/${d.project} with {"store_completions": true}.`,
  ),
  no_completions_found: invalid(
    "No stored completions",
    () =>
      "No stored completions match. Send requests with store: true first, or widen the filters. Truncated answers " +
      "(finish_reason length) are omitted.",
  ),
  context_length_exceeded: invalid("The context is too long"),
  unsupported: invalid("Not supported", (d) => `${d.what} is not supported. ${d.instead ?? ""}`.trim()),
  wrong_purpose: invalid(
    "Wrong file purpose",
    (d) =>
      `Files with purpose ${JSON.stringify(d.purpose)} cannot be used for training. ` +
      'Upload the file with purpose "fine-tune".',
  ),
  cursor_not_found: invalid(
    "Cursor not found",
    () => "`after` must be the id of an item in this list. Omit it to start with the first page.",
  ),
  missing_api_key: unauthorized(
    "Missing credentials",
    () =>
      "Send `Authorization: Bearer <key>` with a Tunebase API key (tb_…) or a Supabase user's access token.",
  ),
  invalid_api_key: unauthorized(
    "Invalid API key",
    () =>
      "This API key does not exist, has expired or was revoked. Check that you copied all of it, or create a new one.",
  ),
  invalid_token: unauthorized(
    "Invalid access token",
    () => "The user of this access token no longer exists. Sign in again.",
  ),
  invalid_signature: unauthorized(
    "Invalid signature",
    () =>
      "Sign the exact body with the attempt's callback_secret, following Standard Webhooks. Signatures are valid for five minutes.",
  ),
  insufficient_scope: forbidden(
    "Insufficient scope",
    (d) => `This request requires the scope ${JSON.stringify(d.scope)}, which your API key does not have.`,
  ),
  insufficient_role: forbidden(
    "Insufficient role",
    (d) =>
      `This request requires the permission ${
        JSON.stringify(d.scope)
      }, which your role in the project (${d.role}) does ` +
      "not include. Ask an owner of the project.",
  ),
  user_token_required: forbidden(
    "User access token required",
    () => "API keys act for a project, not for a user. Send a Supabase user's access token.",
  ),
  signup_closed: forbidden(
    "Sign-up is closed",
    () =>
      "You do not own a project, and this server does not let new users create one. Ask the operator to make you an owner " +
      "(task operator owner <your email address>), or ask a project owner to invite you.",
  ),
  spend_cap_too_high: forbidden(
    "Spend cap too high",
    (d) =>
      `limits.spent_usd = ${d.value ?? "null (no cap)"}: owners can set at most ${d.max} USD per month. ` +
      "Ask the operator to raise this limit.",
  ),
  project_without_members: forbidden(
    "The project has no members",
    () =>
      "All members of this API key's project have been deleted, so its keys no longer work. Ask the operator to name an owner.",
  ),
  project_not_found: missing(
    "Project not found",
    () => "The project does not exist, or you are not a member of it.",
  ),
  file_not_found: missing("File not found", () => "This project has no such file. See GET /files."),
  upload_not_found: missing(
    "Upload not found",
    () => "This project has no such upload. Create one with POST /uploads or POST /files/direct.",
  ),
  job_not_found: missing("Job not found", () => "This project has no such job. See GET /fine_tuning/jobs."),
  api_key_not_found: missing(
    "API key not found",
    () => "This project has no such API key. See GET /api_keys.",
  ),
  member_not_found: missing(
    "Member not found",
    () => "The user is not a member of this project. See GET /projects/{id}/members.",
  ),
  invitation_not_found: missing(
    "Invitation not found",
    () =>
      "The invitation does not exist, was already answered, or has expired. Only the user who has confirmed its email " +
      "address can answer it.",
  ),
  checkpoint_not_found: missing(
    "Checkpoint not found",
    () => "The checkpoint does not exist, or newer ones have replaced it. See GET …/checkpoints.",
  ),
  evaluation_not_found: missing(
    "Evaluation not found",
    () => "This project has no such evaluation. See GET /evaluations.",
  ),
  completion_not_found: missing(
    "Completion not found",
    () =>
      "This project has no such stored completion: it was not sent with store: true, was deleted, or has expired.",
  ),
  adapter_deleted: missing("The model was deleted", (d) => `Model ${d.model} was deleted on request.`),
  model_not_own: forbidden(
    "The model cannot be deleted",
    (d) => `${d.model} is a base model. You can delete only your own fine-tuned models.`,
  ),
  webhook_endpoint_not_found: missing(
    "Webhook endpoint not found",
    () => "This project has no such webhook endpoint. See GET /webhook_endpoints.",
  ),
  webhook_delivery_not_found: missing(
    "Delivery not found",
    () => "This project has no such delivery, or it is older than 30 days. See GET /webhook_deliveries.",
  ),
  notification_not_found: missing(
    "Notification not found",
    () => "This project has no such notification. See GET /notifications.",
  ),
  notification_channel_not_found: missing(
    "Notification channel not found",
    () => "This project has no such notification channel. See GET /notification_channels.",
  ),
  receiver_unreachable: invalid("The receiver did not respond"),
  email_not_member: invalid(
    "The address does not belong to a member",
    (d) =>
      `target = ${
        JSON.stringify(d.address)
      }: email is sent only to confirmed addresses of project members. ` +
      "Use a member's address, or invite the person first: POST /projects/{id}/members.",
  ),
  email_limit_reached: tooMany(
    "Too many emails",
    (d) =>
      `This address has reached its limit of 60 emails per hour (at most 5 tests). Try again in ${d.seconds} s.`,
  ),
  email_not_configured: invalid(
    "Email is not configured",
    () => "This server does not send email. Ask the operator to set RESEND_API_KEY and TUNEBASE_EMAIL_FROM.",
  ),
  user_required: invalid(
    "No user",
    () =>
      "This API key does not belong to a user, so it cannot mark notifications as read. Use a user's access token.",
  ),
  receiver_disabled: conflict(
    "The receiver is disabled",
    () => "Fix the receiver, enable it (POST with enabled: true), then replay.",
  ),
  route_not_found: missing("Route not found"),
  method_not_allowed: entry(405, "invalid_request_error")("Method not allowed"),
  file_not_ready: conflict(
    "The file is not ready",
    (d) => `The file's status is ${JSON.stringify(d.status)}; it must be "processed".`,
  ),
  upload_not_pending: conflict(
    "The upload is not pending",
    (d) => `This upload is ${d.status}. Only pending uploads accept parts; start a new upload.`,
  ),
  upload_missing: conflict("The upload is incomplete"),
  part_not_found: invalid(
    "Part not found",
    () => "part_ids must list this upload's parts, each once, in file order.",
  ),
  too_many_parts: invalid(
    "Too many parts",
    (d) => `An upload can have at most ${d.max} parts. Send larger parts.`,
  ),
  upload_size: invalid(
    "Upload size mismatch",
    (d) =>
      `Expected ${d.bytes} bytes but received ${d.parts}. Send every part, and declare the exact size of the file.`,
  ),
  file_in_use: conflict(
    "The file is in use",
    () => "An unfinished job uses this file. Cancel the job, or wait until it finishes.",
  ),
  job_already_finished: conflict("The job has already finished", (d) => `The job is already ${d.status}.`),
  job_not_paused: conflict(
    "The job is not paused",
    (d) => `The job is ${d.status}. Only paused jobs can be resumed.`,
  ),
  model_in_use: conflict(
    "The model is in use",
    (d) =>
      `An unfinished job is fine-tuning ${d.model}. Cancel it, or wait until it finishes, then delete the model.`,
  ),
  job_already_started: conflict(
    "The job has already started",
    () => "The job was started and then paused. Resume it with POST …/resume.",
  ),
  project_archived: conflict(
    "The project is archived",
    () => "This project is archived and read-only. An owner can restore it: POST /projects/{id}/restore.",
  ),
  project_busy: conflict(
    "The project has unfinished jobs",
    (d) =>
      `The project has ${d.jobs} unfinished ${d.jobs === 1 ? "job" : "jobs"}. ` +
      "Cancel unfinished jobs or wait until they finish, then archive the project.",
  ),
  member_exists: conflict(
    "Already a member",
    (d) =>
      `${d.email} is already a member of the project. To change their role, use POST /projects/{id}/members/{user_id}.`,
  ),
  last_owner: conflict(
    "The project needs an owner",
    () => "This is the project's last owner. Make another member an owner first, or archive the project.",
  ),
  api_key_revoked: conflict(
    "The API key was revoked",
    () => "A revoked key cannot be changed. Create a new one.",
  ),
  quota_exceeded: forbidden(
    "Quota exceeded",
    (d) => `The limit is ${d.limit} ${d.what}; ${d.used} are in use. ${d.fix}`,
  ),
  spend_cap_exceeded: forbidden(
    "Project spend cap exceeded",
    (d) =>
      `The project has spent or reserved ${d.spent} USD this month, this ${
        d.request === true ? "request" : "job"
      } may cost ${d.reserved} USD, and the cap is ` +
      `${d.cap} USD. ${
        d.request === true ? "Lower max_completion_tokens" : "Train on less data"
      }, wait until next month, or ask a project owner to raise the cap.`,
  ),
  adapter_not_ready: conflict(
    "The adapter is not ready",
    (d) => `The job is ${d.status}. The adapter is available once the job has succeeded.`,
  ),
  idempotency_key_reused: conflict(
    "Idempotency key reused",
    () =>
      "This Idempotency-Key was used for a request with a different path or body. Use a new key for each new request.",
  ),
  idempotency_key_in_use: conflict(
    "Idempotency key in use",
    () =>
      "Another request with this Idempotency-Key is still running. Retry in a moment to get its response.",
    true,
  ),
  precondition_failed: entry(412, "invalid_request_error")(
    "Precondition failed",
    () =>
      "The resource has changed since the version in If-Match. Fetch it again and retry with the new ETag.",
  ),
  rate_limit_exceeded: tooMany(
    "Too many requests",
    (d) => `The limit is ${d.limit} requests per minute. Try again in ${d.seconds} s.`,
    true,
  ),
  too_many_unknown_keys: tooMany(
    "Too many invalid API keys",
    (d) => `This server has received too many invalid API keys. Try again in ${d.seconds} s.`,
    true,
  ),
  too_many_streams: tooMany(
    "Too many open streams",
    (d) =>
      `You have reached the limit of ${d.max} open event streams. Close one, or list the events without ` +
      "`Accept: text/event-stream`.",
    true,
  ),
  invalid_time_zone: invalid(
    "Invalid time zone",
    (d) =>
      `time_zone = ${
        JSON.stringify(d.time_zone)
      }: must be an IANA time zone name, such as Europe/Berlin or UTC.`,
  ),
  too_large: entry(413, "invalid_request_error")("Request body too large"),
  model_loading: unavailable(
    "The model is loading",
    () =>
      "The model is loading and has not answered yet. Retry in 30 s, or stream the answer, which waits longer. " +
      "POST /models/{id}/warm loads a model in advance.",
  ),
  inference_unavailable: unavailable(
    "The inference engine failed",
    () => "The inference engine did not respond. It is safe to retry.",
  ),
  inference_timeout: entry(504, "server_error")(
    "The answer took too long",
    () => "The answer took too long. Stream it, or lower max_completion_tokens.",
  ),
  internal: entry(500, "server_error")(
    "Internal server error",
    () =>
      "Something went wrong on our side, and the error was logged under this request id. It is safe to retry.",
  ),
  unavailable: unavailable("Service unavailable", () => "Storage did not respond. It is safe to retry."),
  database_unavailable: unavailable(
    "Database unavailable",
    () =>
      "The database did not respond. Retry in a moment, with an Idempotency-Key if the request creates something.",
  ),
} satisfies Record<string, ErrorEntry>;
export type ErrorCode = keyof typeof errorCodes;

function list(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.join(", ") : "none";
}

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorCodes, code);
