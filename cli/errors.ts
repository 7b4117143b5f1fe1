/** Errors that end the program, and how they are printed: what happened, then what to do. */
import { ApiError } from "../client/mod.ts";
import { nameCommands } from "./api/routes.ts";

/** The exit codes, as documented in `docs/cli.md`. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** An expected failure. The message is shown without a stack trace. */
export class CliError extends Error {
  constructor(message: string, readonly exitCode: number = exitCodes.failed, options: ErrorOptions = {}) {
    super(message, options);
    this.name = "CliError";
  }
}

/** A request that got no response. */
export class UnreachableError extends CliError {
  constructor(readonly origin: string, reason: string, cause?: unknown) {
    super(
      `Could not reach ${origin}: ${reason}.\nCheck the base URL and that the server is up. ` +
        "Run `tunebase doctor` to diagnose the problem.",
      exitCodes.failed,
      { cause },
    );
  }
}

const maxListedProblems = 20;

/** The error as text for the terminal. */
export function formatError(error: unknown): string {
  if (error instanceof CliError) return error.message;
  if (error instanceof ApiError) return formatApiError(error);
  if (isSystemError(error)) return formatSystemError(error);
  return error instanceof Error ? error.message : String(error);
}

function formatApiError({ problem, code, status, message }: ApiError): string {
  const problems = problem.errors ?? [];
  const lines = problems.length > 1
    ? [
      ...problems.slice(0, maxListedProblems).map((one) => one.message),
      ...(problems.length > maxListedProblems ? [`… and ${problems.length - maxListedProblems} more`] : []),
    ]
    : [message];
  const text = nameCommands(lines.join("\n"));
  const hint = hints[code];
  const [command] = hint === undefined ? [] : /`[^`]+`/.exec(hint) ?? [];
  return [
    text,
    // The message may already name the command.
    ...(hint === undefined || (command !== undefined && text.includes(command)) ? [] : [hint]),
    ...(status >= 500 ? [`Request ID: ${problem.request_id}`] : []),
  ].join("\n");
}

/** What a CLI user can do, in addition to the API's own advice. */
const hints: { [code: string]: string } = {
  missing_api_key: "Run `tunebase login`, or set TUNEBASE_API_KEY.",
  invalid_api_key: "Run `tunebase login` with another key, or set TUNEBASE_API_KEY.",
  insufficient_scope: "Run `tunebase whoami` to see the key's scopes.",
  job_not_found: "Run `tunebase jobs list` to see your jobs.",
  file_not_found: "Run `tunebase files list` to see your files.",
  model_not_found: "Run `tunebase models list` to see the available models.",
  api_key_not_found: "Run `tunebase keys list` to see the project's keys.",
};

function isSystemError(error: unknown): error is Error & { code: string; path?: string } {
  return error instanceof Error && "code" in error &&
    typeof error.code === "string";
}

function formatSystemError(error: Error & { code: string; path?: string }): string {
  const path = error.path ?? "The file";
  switch (error.code) {
    case "ENOENT":
      return `${path} does not exist.`;
    case "EACCES":
    case "EPERM":
      return `Cannot open ${error.path ?? "the file"}: permission denied.`;
    case "EISDIR":
      return `${path} is a directory, not a file.`;
    case "ENOSPC":
      return "The disk is full.";
    default:
      return error.message;
  }
}

/** Why a fetch failed. Node has the reason in `cause`, Deno in the message. */
export function networkErrorReason(error: unknown): string {
  const causes: string[] = [];
  for (let current: unknown = error; current instanceof Error; current = current.cause) {
    causes.push(`${"code" in current ? current.code : ""} ${current.message}`);
  }
  const text = causes.join(" ");
  if (/ECONNREFUSED|refused/i.test(text)) return "the connection was refused";
  if (/ENOTFOUND|EAI_AGAIN|dns|lookup/i.test(text)) return "the host name could not be resolved";
  if (/certificate|TLS|SSL/i.test(text)) return "the TLS certificate was rejected";
  if (/ETIMEDOUT|timed? ?out/i.test(text)) return "the request timed out";
  if (/ECONNRESET|reset|closed|terminated/i.test(text)) return "the connection was interrupted";
  return causes.at(-1)?.trim() || "a network error occurred";
}
