/** What ends the program other than well, each with its exit code and what to do. */
import { RefusedError } from "../client/mod.ts";

/** The exit codes; `docs/cli.md` lists them. */
export const exits = { ok: 0, failed: 1, usage: 2, detached: 130 } as const;

/** An expected end: a sentence, and what to do. */
export class CliError extends Error {
  constructor(message: string, readonly exit: number = exits.failed, options: ErrorOptions = {}) {
    super(message, options);
    this.name = "CliError";
  }
}

/** A request that came to no answer. */
export class UnreachableError extends CliError {
  constructor(readonly origin: string, reason: string, cause?: unknown) {
    super(
      `Could not reach ${origin}: ${reason}.\nIs the base URL right, and the server up? \`tunebase doctor\` looks closer.`,
      exits.failed,
      { cause },
    );
  }
}

const mostProblems = 20;

/** The error as it is printed: the API's sentences where there are any. */
export function explain(error: unknown): string {
  if (error instanceof CliError) return error.message;
  if (error instanceof RefusedError) return refusal(error);
  if (isSystemError(error)) return systemError(error);
  return error instanceof Error ? error.message : String(error);
}

function refusal({ problem, code, status, message }: RefusedError): string {
  const problems = problem.errors ?? [];
  const lines = problems.length > 1
    ? [
      ...problems.slice(0, mostProblems).map((one) => one.message),
      ...(problems.length > mostProblems ? [`… and ${problems.length - mostProblems} more`] : []),
    ]
    : [message];
  const advice = advices[code];
  if (advice !== undefined) lines.push(advice);
  if (status >= 500) lines.push(`The request's id is ${problem.request_id}.`);
  return lines.join("\n");
}

/** What a person at a terminal can do beside what the API says. */
const advices: { [code: string]: string } = {
  missing_api_key: "Run `tunebase login`, or set TUNEBASE_API_KEY.",
  invalid_api_key: "Run `tunebase login` with another key, or set TUNEBASE_API_KEY.",
  insufficient_scope: "`tunebase whoami` lists what the key may do.",
  job_not_found: "`tunebase jobs list` lists them.",
  file_not_found: "`tunebase files list` lists them.",
  model_not_found: "`tunebase models list` lists them.",
  api_key_not_found: "`tunebase keys list` lists them.",
};

function isSystemError(error: unknown): error is Error & { code: string; path?: string } {
  return error instanceof Error && "code" in error &&
    typeof error.code === "string";
}

function systemError(error: Error & { code: string; path?: string }): string {
  const where = error.path ?? "the file";
  switch (error.code) {
    case "ENOENT":
      return `${where} does not exist.`;
    case "EACCES":
    case "EPERM":
      return `${where} cannot be opened: permission denied.`;
    case "EISDIR":
      return `${where} is a folder; name a file.`;
    case "ENOSPC":
      return "The disk is full.";
    default:
      return error.message;
  }
}

/** Why a fetch came to nothing, in words: Node hides it in the cause, Deno in the message. */
export function networkReason(error: unknown): string {
  const causes: string[] = [];
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    causes.push(`${"code" in one ? one.code : ""} ${one.message}`);
  }
  const text = causes.join(" ");
  if (/ECONNREFUSED|refused/i.test(text)) return "the connection was refused";
  if (/ENOTFOUND|EAI_AGAIN|dns|lookup/i.test(text)) {
    return "its name is not known";
  }
  if (/certificate|TLS|SSL/i.test(text)) {
    return "its certificate is not accepted";
  }
  if (/ETIMEDOUT|timed? ?out/i.test(text)) return "it did not answer in time";
  if (/ECONNRESET|reset|closed|terminated/i.test(text)) {
    return "the connection broke";
  }
  return causes.at(-1)?.trim() || "the network failed";
}
