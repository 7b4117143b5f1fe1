/** Structured logs: one line of JSON per entry. Never log a secret or a body. */

export interface LogEntry {
  level: "info" | "error";
  msg: string;
  [field: string]: unknown;
}
export type Log = (entry: LogEntry) => void;

/** Writes to standard output, which the platform collects (lines of at most 10,000 characters). */
export const logToConsole: Log = (entry) =>
  console.log(JSON.stringify({ time: new Date().toISOString(), ...entry }));

/** An error for the log: its truncated message and the top of its stack, without query parameters. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error).slice(0, 1000);
  const cause = error.cause === undefined ? "" : `; cause: ${describeError(error.cause)}`;
  // The stack's first line repeats the message.
  const frames = (error.stack ?? "").split("\n").filter((line) => line.startsWith("    at ")).slice(0, 4);
  return `${error.name}: ${error.message.slice(0, 500)}${
    frames.map((line) => line.trimEnd()).join("")
  }${cause}`;
}

/** Logs an error that belongs to no request. */
export function logError(msg: string, error?: unknown): void {
  logToConsole({ level: "error", msg, ...(error === undefined ? {} : { error: describeError(error) }) });
}
