/** The way to Postgres: one connection pool a function, one SQL function a call. */
import postgres from "postgres";
import { ApiError } from "./errors.ts";

export type Sql = postgres.Sql;

/**
 * Connects lazily. `url` is the transaction pooler's on the platform, hence no prepared statements; few connections,
 * as many isolates run at once.
 */
export function connect(url: string): Sql {
  return postgres(url, { prepare: false, max: 4, idle_timeout: 20, connect_timeout: 10, onnotice: () => {} });
}

type Argument = string | number | boolean | null | { json: unknown };

/**
 * Calls `tunebase.<name>(…)` and returns its value. `{json: …}` is passed as jsonb. What SQL refuses (SQLSTATE TB000)
 * becomes the ApiError of that code.
 */
export async function call<T>(sql: Sql, name: string, ...args: Argument[]): Promise<T> {
  const values = args.map((arg) =>
    arg !== null && typeof arg === "object" ? JSON.stringify(arg.json ?? null) : arg
  );
  const places = args.map((arg, i) =>
    arg !== null && typeof arg === "object" ? `$${i + 1}::text::jsonb` : `$${i + 1}`
  );
  try {
    const rows = await sql.unsafe<{ result: T }[]>(
      `select tunebase.${name}(${places.join(", ")}) as result`,
      values,
    );
    const [row] = rows;
    if (row === undefined) throw new Error(`tunebase.${name} returned no row`);
    return row.result;
  } catch (error) {
    if (error instanceof postgres.PostgresError && error.code === "TB000") {
      const refusal = ApiError.fromSql(error.message, JSON.parse(error.detail ?? "{}"));
      if (refusal !== null) throw refusal;
    }
    throw error;
  }
}
