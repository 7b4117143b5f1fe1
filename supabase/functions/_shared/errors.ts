/**
 * The registry of errors: every code that a client can meet, its status, and what to do. Bodies are
 * `application/problem+json` (RFC 9457) with the member `error` that OpenAI's SDKs read.
 */

type Kind =
  | "invalid_request_error"
  | "authentication_error"
  | "permission_error"
  | "not_found_error"
  | "rate_limit_error"
  | "server_error";
interface Entry {
  status: 400 | 401 | 403 | 404 | 405 | 409 | 412 | 413 | 415 | 429 | 500 | 503;
  kind: Kind;
  title: string;
  /** The sentence for a code that SQL refuses with; `detail` is what it gave. */
  say?: (detail: Record<string, unknown>) => string;
  /** Whether the same request may succeed later; where it is not said, only what is our fault may. */
  retry?: boolean;
}

const invalid = (title: string, say?: Entry["say"]): Entry => ({
  status: 400,
  kind: "invalid_request_error",
  title,
  say,
});
const missing = (title: string, say?: Entry["say"]): Entry => ({
  status: 404,
  kind: "not_found_error",
  title,
  say,
});
const forbidden = (title: string, say?: Entry["say"]): Entry => ({
  status: 403,
  kind: "permission_error",
  title,
  say,
});
const conflict = (title: string, say?: Entry["say"]): Entry => ({
  status: 409,
  kind: "invalid_request_error",
  title,
  say,
});

export const errorCodes = {
  invalid_json: invalid("The body is not JSON"),
  invalid_request: invalid("The request is not valid"),
  invalid_multipart: invalid("The body is not a multipart form"),
  invalid_file: invalid("The file cannot be trained on"),
  model_not_found: missing(
    "No such base model",
    (d) =>
      `The model ${JSON.stringify(d.model)} is not offered here. Offered: ${
        list(d.offered)
      }. See GET /models.`,
  ),
  unsupported: invalid(
    "Not offered",
    (d) => `${d.what} is not offered yet. ${d.instead ?? ""}`.trim(),
  ),
  wrong_purpose: invalid(
    "The file has the wrong purpose",
    (d) =>
      `A file with purpose ${
        JSON.stringify(d.purpose)
      } cannot be trained on. Upload it with purpose "fine-tune".`,
  ),
  cursor_not_found: invalid(
    "No such place in the list",
    () => "`after` must be the id of an item of this list. Leave it out to begin with the newest.",
  ),
  missing_api_key: {
    status: 401,
    kind: "authentication_error",
    title: "No credentials",
    say: () =>
      "Send `Authorization: Bearer <key>` with a Tunebase API key (tb_…) or a Supabase user's access token.",
  },
  invalid_api_key: {
    status: 401,
    kind: "authentication_error",
    title: "The API key is not valid",
    say: () =>
      "This API key does not exist, has expired or was revoked. Make another one, or check what you copied.",
  },
  invalid_token: {
    status: 401,
    kind: "authentication_error",
    title: "The access token is not valid",
    say: () => "The user of this access token does not exist any more. Sign in again.",
  },
  invalid_signature: {
    status: 401,
    kind: "authentication_error",
    title: "The signature is not valid",
    say: () =>
      "Sign the exact body with the attempt's callback_secret, as Standard Webhooks says, within five minutes.",
  },
  insufficient_scope: forbidden(
    "Not allowed",
    (d) => `This needs the scope ${JSON.stringify(d.scope)}, which the credentials lack.`,
  ),
  insufficient_role: forbidden(
    "Not allowed",
    (d) =>
      `This needs the right ${
        JSON.stringify(d.scope)
      }, which your role in the project (${d.role}) does not have. ` +
      "Ask an owner of the project.",
  ),
  user_token_required: forbidden(
    "Only for people",
    () => "An API key belongs to a project, not to a person. Send a Supabase user's access token.",
  ),
  signup_closed: forbidden(
    "You have no project here",
    () =>
      "You own no project here, and new users get none by themselves. Ask the operator to name you as an owner " +
      "(task operator owner <your e-mail address>), or an owner of a project to invite you.",
  ),
  spend_cap_too_high: forbidden(
    "The spend cap is too high",
    (d) =>
      `limits.spent_usd = ${d.value ?? "null (no cap)"}: owners may set at most ${d.max} USD a month here. ` +
      "Ask the operator for more.",
  ),
  project_without_members: forbidden(
    "The project has no members",
    () =>
      "Everybody who was a member of this API key's project has been deleted, so its keys do nothing. Ask this server's " +
      "operator to name an owner.",
  ),
  project_not_found: missing(
    "No such project",
    () => "The project does not exist, or you are not a member of it.",
  ),
  file_not_found: missing("No such file", () => "The file does not exist in this project. See GET /files."),
  upload_not_found: missing(
    "No such upload",
    () => "The upload does not exist in this project. Begin one with POST /uploads or POST /files/direct.",
  ),
  job_not_found: missing(
    "No such job",
    () => "The job does not exist in this project. See GET /fine_tuning/jobs.",
  ),
  api_key_not_found: missing(
    "No such API key",
    () => "The key does not exist in this project. See GET /api_keys.",
  ),
  member_not_found: missing(
    "No such member",
    () => "The user is not a member of this project. See GET /projects/{id}/members.",
  ),
  invitation_not_found: missing(
    "No such invitation",
    () =>
      "The invitation does not exist, was answered, or has expired. It is bound to a confirmed e-mail address.",
  ),
  checkpoint_not_found: missing(
    "No such checkpoint",
    () => "The checkpoint does not exist, or newer ones have taken its place. See GET …/checkpoints.",
  ),
  adapter_deleted: missing("The model was deleted", (d) => `The model ${d.model} was deleted on request.`),
  model_not_own: {
    status: 403,
    kind: "permission_error",
    title: "The model cannot be deleted",
    say: (d) =>
      `${d.model} is a base model, which the operator offers. Only fine-tunes of your own can be deleted.`,
  },
  webhook_endpoint_not_found: missing(
    "No such webhook endpoint",
    () => "The webhook endpoint does not exist in this project. See GET /webhook_endpoints.",
  ),
  webhook_delivery_not_found: missing(
    "No such delivery",
    () =>
      "The delivery does not exist in this project, or is older than 30 days. See GET /webhook_deliveries.",
  ),
  notification_not_found: missing(
    "No such notification",
    () => "The notification does not exist in this project. See GET /notifications.",
  ),
  notification_channel_not_found: missing(
    "No such notification channel",
    () => "The channel does not exist in this project. See GET /notification_channels.",
  ),
  receiver_unreachable: invalid("The receiver did not answer"),
  email_not_member: invalid(
    "The address belongs to no member",
    (d) =>
      `target = ${
        JSON.stringify(d.address)
      }: e-mail goes only to the confirmed address of a member of this project. ` +
      "Use a member's address, or invite the person first: POST /projects/{id}/members.",
  ),
  email_limit_reached: {
    status: 429,
    kind: "rate_limit_error",
    title: "Too many e-mails",
    say: (d) => `This address has had its e-mails of this hour (60, of which 5 tests). Wait ${d.seconds} s.`,
  },
  email_not_configured: invalid(
    "E-mail is not set up",
    () => "This server sends no e-mail: its operator must set RESEND_API_KEY and TUNEBASE_EMAIL_FROM.",
  ),
  user_required: invalid(
    "No user to do this for",
    () => "This API key belongs to no user, so it has no read marks. Call with a user's access token.",
  ),
  receiver_disabled: conflict(
    "The receiver is disabled",
    () => "Repair it, then enable it again (POST with enabled: true), and replay.",
  ),
  route_not_found: missing("No such route"),
  method_not_allowed: { status: 405, kind: "invalid_request_error", title: "The path has no such method" },
  file_not_ready: conflict(
    "The file is not ready",
    (d) => `The file's status is ${JSON.stringify(d.status)}; it must be "processed".`,
  ),
  upload_not_pending: conflict(
    "The upload has ended",
    (d) => `The upload is ${d.status}; only a pending one can be gone on with. Begin another.`,
  ),
  upload_missing: conflict("The upload has not arrived"),
  part_not_found: invalid(
    "No such part",
    () => "part_ids must be ids of this upload's parts, each once, in the order of the file.",
  ),
  too_many_parts: invalid(
    "Too many parts",
    (d) => `An upload has ${d.most} parts at the most. Send larger parts.`,
  ),
  upload_size: invalid(
    "The upload has another size than announced",
    (d) =>
      `${d.bytes} bytes were announced and ${d.parts} came. Send every part, and announce the file's exact size.`,
  ),
  file_in_use: conflict(
    "The file is in use",
    () => "A job that has not ended uses it. Cancel the job, or wait for its end.",
  ),
  job_already_finished: conflict(
    "The job has ended",
    (d) => `The job is ${d.status} already, which is final.`,
  ),
  job_not_paused: conflict(
    "The job is not paused",
    (d) => `The job is ${d.status}; only a paused job can be resumed.`,
  ),
  model_in_use: conflict(
    "The model is in use",
    (d) => `A job that has not ended trains on from ${d.model}. Cancel the job, or wait for its end.`,
  ),
  job_already_started: conflict(
    "The job does not wait to be started",
    () => "The job has been started before and was paused. Resume it with POST …/resume.",
  ),
  project_archived: conflict(
    "The project is archived",
    () =>
      "It can be read, and nothing new begins in it. An owner can restore it: POST /projects/{id}/restore.",
  ),
  project_busy: conflict(
    "The project has jobs that have not ended",
    (d) => `${d.jobs} of its jobs have not ended. Cancel them, or wait for their end, and archive it then.`,
  ),
  member_exists: conflict(
    "Already a member",
    (d) =>
      `${d.email} is a member of the project. Change the role there: POST /projects/{id}/members/{user_id}.`,
  ),
  last_owner: conflict(
    "The project needs an owner",
    () => "This is its last owner. Make another member an owner first, or archive the project.",
  ),
  api_key_revoked: conflict(
    "The API key was revoked",
    () => "A revoked key stays as it is. Make another one.",
  ),
  quota_exceeded: forbidden(
    "Quota exceeded",
    (d) => `The limit is ${d.limit} ${d.what}; ${d.used} are in use. ${d.fix}`,
  ),
  spend_cap_exceeded: forbidden(
    "The project's spend cap is reached",
    (d) =>
      `The project has spent or set aside ${d.spent} USD this month, this job may cost ${d.reserved} USD, and the cap is ` +
      `${d.cap} USD. Train on less, wait for the next month, or ask the project's owner to raise the cap.`,
  ),
  adapter_not_ready: conflict(
    "There is no adapter",
    (d) => `The job is ${d.status}; a job has an adapter once it has succeeded.`,
  ),
  idempotency_key_reused: conflict(
    "The idempotency key was used for another request",
    () =>
      "This Idempotency-Key belongs to a request with another path or body. Use a new key for a new request.",
  ),
  idempotency_key_in_use: {
    ...conflict(
      "The first request with this key is still running",
      () =>
        "A request with this Idempotency-Key is being answered. Send it again in a moment for the same answer.",
    ),
    retry: true,
  },
  precondition_failed: {
    status: 412,
    kind: "invalid_request_error",
    title: "It has changed",
    say: () =>
      "It is not as If-Match says: somebody else has changed it. Read it again, and send the change with the new ETag.",
  },
  rate_limit_exceeded: {
    status: 429,
    kind: "rate_limit_error",
    title: "Too many requests",
    say: (d) => `${d.limit} requests a minute are allowed here. Wait ${d.seconds} s.`,
    retry: true,
  },
  too_many_unknown_keys: {
    status: 429,
    kind: "rate_limit_error",
    title: "Too many API keys that do not exist",
    say: (d) => `Too many API keys that do not exist were sent from here. Wait ${d.seconds} s.`,
    retry: true,
  },
  too_many_streams: {
    status: 429,
    kind: "rate_limit_error",
    title: "Too many open streams",
    say: (d) =>
      `A caller may have ${d.most} event streams open at once, and this one has. Close one, or read the events without ` +
      "`Accept: text/event-stream`.",
    retry: true,
  },
  invalid_time_zone: invalid(
    "No such time zone",
    (d) =>
      `time_zone = ${
        JSON.stringify(d.time_zone)
      }: must be a name of the IANA database, such as Europe/Berlin or UTC.`,
  ),
  too_large: { status: 413, kind: "invalid_request_error", title: "The body is too large" },
  internal: {
    status: 500,
    kind: "server_error",
    title: "Something broke here",
    say: () => "It has been logged under this request's id. Sending the request again is safe.",
  },
  unavailable: {
    status: 503,
    kind: "server_error",
    title: "Not available now",
    say: () => "Storage did not answer. Sending the request again is safe.",
  },
  database_unavailable: {
    status: 503,
    kind: "server_error",
    title: "The database is not available now",
    say: () =>
      "The database did not answer. Send the request again in a moment, with an Idempotency-Key if it creates something.",
  },
} as const satisfies Record<string, Entry>;
export type ErrorCode = keyof typeof errorCodes;

function list(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.join(", ") : "none";
}

/** So many problems an answer lists; `problem_count` says how many there are. */
export const maxProblems = 20;

/** One thing that is wrong: which field (or line of a file), what it was, and what to do. */
export interface Problem {
  param: string | null;
  message: string;
  value?: unknown;
  line?: number;
}

/** A refusal that the client can understand; thrown anywhere, rendered in one place. */
export class ApiError extends Error {
  readonly entry: Entry;
  /** More headers of its response. */
  readonly headers: Record<string, string>;
  /** At most {@link maxProblems}. */
  readonly problems: Problem[];
  /** How many problems there are. */
  readonly count: number;
  /**
   * `count`: how many problems there are, where `problems` holds only the first. `summary`: what the SDKs show, where the
   * first problem alone would not do.
   */
  constructor(
    readonly code: ErrorCode,
    problems: Problem[] = [],
    options: { cause?: unknown; headers?: Record<string, string>; count?: number; summary?: string } = {},
  ) {
    super(options.summary ?? problems[0]?.message ?? errorCodes[code].title, options);
    this.entry = errorCodes[code];
    this.count = options.count ?? problems.length;
    this.problems = problems.slice(0, maxProblems);
    this.headers = options.headers ?? (errorCodes[code].status === 503 ? { "retry-after": "5" } : {});
    this.#summary = options.summary ?? null;
  }
  readonly #summary: string | null;

  /** A refusal raised in SQL: its code and the detail that fills the sentence. */
  static fromSql(code: string, detail: Record<string, unknown>): ApiError | null {
    if (!(code in errorCodes)) return null;
    const known = code as ErrorCode;
    const entry: Entry = errorCodes[known];
    const param = typeof detail.param === "string"
      ? detail.param
      : known === "model_not_found"
      ? "model"
      : null;
    return new ApiError(known, [{ param, message: entry.say?.(detail) ?? entry.title }]);
  }

  /** A refusal whose sentence the registry has. */
  static of(
    code: ErrorCode,
    detail: Record<string, unknown> = {},
    options: { cause?: unknown; headers?: Record<string, string> } = {},
  ): ApiError {
    const entry: Entry = errorCodes[code];
    const param = typeof detail.param === "string" ? detail.param : null;
    return new ApiError(code, [{ param, message: entry.say?.(detail) ?? entry.title }], options);
  }

  /** The problem as the client gets it. */
  body(requestId: string) {
    const { status, kind, title } = this.entry;
    const [first] = this.problems;
    const more = this.count > 1 ? ` (and ${this.count - 1} more)` : "";
    const message = this.#summary ?? `${first?.message ?? title}${more}`;
    return {
      type: `urn:tunebase:error:${this.code}`,
      title,
      status,
      detail: message,
      request_id: requestId,
      ...(this.problems.length > 0 ? { errors: this.problems } : {}),
      ...(this.count > this.problems.length ? { problem_count: this.count } : {}),
      error: { message, type: kind, param: first?.param ?? null, code: this.code },
    };
  }

  /** The problem as a response. Client errors will not change by themselves: the SDKs are told not to retry them. */
  response(requestId: string): Response {
    const { status, retry } = this.entry;
    return new Response(JSON.stringify(this.body(requestId)), {
      status,
      headers: {
        "content-type": "application/problem+json",
        "x-request-id": requestId,
        ...(status < 500 ? { "x-should-retry": String(retry ?? false) } : {}),
        ...this.headers,
      },
    });
  }
}
