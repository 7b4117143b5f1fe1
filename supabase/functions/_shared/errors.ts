/**
 * Errors that the client can act on. Response bodies are `application/problem+json` (RFC 9457) plus the member `error` that
 * OpenAI's SDKs read.
 */
import { type ErrorCode, errorCodes, type ErrorEntry, isErrorCode } from "./contracts/error_codes.ts";

/** How many problems a response lists; `problem_count` has the total. */
export const maxProblems = 20;

/** One thing that is wrong: which field (or line of a file), its value, and what to do. */
export interface Problem {
  param: string | null;
  message: string;
  value?: unknown;
  line?: number;
}

/** An error that the client can act on. Thrown anywhere; `http.ts` renders it. */
export class ApiError extends Error {
  readonly entry: ErrorEntry;
  /** Additional response headers. */
  readonly headers: Record<string, string>;
  /** At most {@link maxProblems}. */
  readonly problems: Problem[];
  /** The total number of problems. */
  readonly count: number;
  readonly #summary: string | null;

  /**
   * `count`: the total number of problems, if `problems` holds only the first ones. `summary`: the message that the SDKs
   * show, if the first problem's message is not enough.
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
    this.headers = options.headers ?? (this.entry.status === 503 ? { "retry-after": "5" } : {});
    this.#summary = options.summary ?? null;
  }

  /** An error raised by `raise_api_error`. null: the code is not in the catalog. */
  static fromSql(code: string, detail: Record<string, unknown>): ApiError | null {
    if (!isErrorCode(code)) return null;
    return ApiError.of(code, code === "model_not_found" ? { param: "model", ...detail } : detail);
  }

  /** An error whose message is in the catalog. */
  static of(
    code: ErrorCode,
    detail: Record<string, unknown> = {},
    options: { cause?: unknown; headers?: Record<string, string> } = {},
  ): ApiError {
    const { title, message }: ErrorEntry = errorCodes[code];
    const param = typeof detail.param === "string" ? detail.param : null;
    return new ApiError(code, [{ param, message: message?.(detail) ?? title }], options);
  }

  /** The response body. */
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

  /** The response. `x-should-retry` keeps the SDKs from retrying client errors that will not go away by themselves. */
  response(requestId: string): Response {
    const { status, retryable } = this.entry;
    return new Response(JSON.stringify(this.body(requestId)), {
      status,
      headers: {
        "content-type": "application/problem+json",
        "x-request-id": requestId,
        ...(status < 500 ? { "x-should-retry": String(retryable ?? false) } : {}),
        ...this.headers,
      },
    });
  }
}
