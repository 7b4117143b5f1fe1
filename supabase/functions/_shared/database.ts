/** The way to Postgres: one connection pool a function, one SQL function a call. */
import postgres from "postgres";
import { ApiError } from "./errors.ts";

export type Sql = postgres.Sql;

/**
 * Connects lazily. `url` is the transaction pooler's on the platform, hence no prepared statements; few connections,
 * as many isolates run at once.
 */
export function connect(url: string): Sql {
  return postgres(url, {
    prepare: false,
    max: 4,
    idle_timeout: 20,
    connect_timeout: 10,
    // By default it waits up to 20 s after a few failures, long after a restarted database is there again.
    backoff: (failures) => Math.min(1, failures * 0.1) * (0.5 + Math.random() / 2),
    onnotice: () => {},
  });
}

/** The extended protocol, which takes one statement and no more; an option that postgres.js's types leave out. */
const oneStatement = { prepare: false, simple: false };

type Argument = string | number | boolean | null | { json: unknown };

/**
 * Calls `tunebase.<name>(…)` and returns its value. `{json: …}` is passed as jsonb. What SQL refuses (SQLSTATE TB000)
 * becomes the ApiError of that code.
 *
 * The arguments are literals in the query's text. As bound parameters they cost a second round trip: unprepared, as the
 * transaction pooler wants it, postgres.js first asks the server for their types. Measured (task bench): 740 callbacks/s
 * against 650 beside the database, and nearly half the time where it is 4 ms away.
 */
export async function call<T>(sql: Sql, name: string, ...args: Argument[]): Promise<T> {
  try {
    const rows = await sql.unsafe<{ result: T }[]>(
      `select tunebase_internal.${name}(${args.map(literal).join(", ")}) as result`,
      [],
      oneStatement,
    );
    const [row] = rows;
    if (row === undefined) throw new Error(`tunebase_internal.${name} returned no row`);
    return row.result;
  } catch (error) {
    if (error instanceof postgres.PostgresError && error.code === "TB000") {
      const refusal = ApiError.fromSql(error.message, JSON.parse(error.detail ?? "{}"));
      if (refusal !== null) throw refusal;
    }
    if (isUnavailable(error)) throw ApiError.of("unavailable", {}, { cause: error });
    // Postgres's own words quote what it was given, so no log has them: this says what was called.
    if (error instanceof postgres.PostgresError) throw new Error(`tunebase.${name} failed`, { cause: error });
    throw error;
  }
}

/** The driver's own errors of a connection, and the operating system's. */
const connectionErrors = new Set([
  "CONNECT_TIMEOUT",
  "CONNECTION_CLOSED",
  "CONNECTION_DESTROYED",
  "CONNECTION_ENDED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);
/**
 * SQLSTATEs of a server that cannot answer now: a lost connection (08), no room for one (53), one that shuts down or
 * starts (57P), a statement that was cancelled, and a deadlock or serialization failure, whose victim was rolled back.
 */
const passing = /^(08...|53...|57P..|57014|40001|40P01)$/;

/** Whether the same call may succeed later as it is. */
export function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as Error & { code?: unknown };
  if (typeof code !== "string") return false;
  return connectionErrors.has(code) || (error instanceof postgres.PostgresError && passing.test(code));
}

/**
 * A value as an SQL literal of unknown type, which takes the type of the function's parameter. A backslash makes it an
 * E'' literal: safe whatever `standard_conforming_strings` says.
 */
function literal(arg: Argument): string {
  if (arg === null) return "null";
  const text = typeof arg === "object" ? JSON.stringify(arg.json ?? null) : String(arg);
  if (text.includes("\0")) throw new Error("a text with a NUL character cannot be stored");
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return quoted.includes("\\") ? ` E${quoted.replaceAll("\\", "\\\\")}` : quoted;
}
