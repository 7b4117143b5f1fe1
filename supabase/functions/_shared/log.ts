/** Logs as JSON, one line an entry: the platform's and everybody else's tools can search them. Never a secret or a body. */

export interface LogEntry {
  level: "info" | "error";
  msg: string;
  [field: string]: unknown;
}
export type Log = (entry: LogEntry) => void;

/** Writes to standard output, which the platform collects (lines of at most 10,000 characters). */
export const logToConsole: Log = (entry) =>
  console.log(JSON.stringify({ time: new Date().toISOString(), ...entry }));

/** What a log may say of something thrown: its words, cut short. Parameters and details of queries are left out. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error).slice(0, 1000);
  const cause = error.cause === undefined ? "" : `; cause: ${describeError(error.cause)}`;
  // From the stack only where it happened: its first line repeats the message.
  const where = (error.stack ?? "").split("\n").filter((line) => line.startsWith("    at ")).slice(0, 4);
  return `${error.name}: ${error.message.slice(0, 500)}${
    where.map((line) => line.trimEnd()).join("")
  }${cause}`;
}

/** Writes what went wrong in the background, where there is no request to tell it with. */
export function logError(msg: string, error?: unknown): void {
  logToConsole({ level: "error", msg, ...(error === undefined ? {} : { error: describeError(error) }) });
}
