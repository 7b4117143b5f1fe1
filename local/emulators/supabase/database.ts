/** A project's database: PostgreSQL as the platform sets it up, and queries as the Management API runs them. */
import postgres from "postgres";
import { fromFileUrl, join } from "../../paths.ts";
import { prepareDatabase } from "../../stack/migrate.ts";
import { type Postgres, startPostgres } from "../../stack/postgres.ts";
import { ApiError } from "./errors.ts";

const here = fromFileUrl(new URL(".", import.meta.url));
const superuser = "supabase_admin";

/** Starts the server of a project's folder. Its superuser is `supabase_admin`, as on the platform. */
export async function startDatabase(
  options: { home: string; port: number; password: string },
): Promise<Postgres> {
  const folder = join(here, "extensions");
  const extensions: string[] = [];
  for await (const { name } of Deno.readDir(folder)) extensions.push(join(folder, name));
  return await startPostgres({ ...options, superuser, extensions });
}

/** Creates the platform's roles, schemas and extensions, and sets the password of `postgres`. Safe to run again. */
export async function preparePlatform(url: string, password: string): Promise<void> {
  await prepareDatabase(url);
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await sql.unsafe(await Deno.readTextFile(join(here, "platform.sql")));
  } finally {
    await sql.end();
  }
  await setPassword(url, password);
}

/** Sets the password of `postgres`, as the superuser. */
export async function setPassword(url: string, password: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    const [statement] = await sql<{ text: string }[]>`
      select format('alter role postgres password %L', ${password}::text) as text`;
    await sql.unsafe(statement?.text ?? "");
  } finally {
    await sql.end();
  }
}

/** The address for a role. */
export function asRole(url: string, role: string, password: string): string {
  const address = new URL(url);
  address.username = role;
  address.password = encodeURIComponent(password);
  return address.href;
}

/** JSON values as the Management API shows them: times and numerics as text, int8 as a number where it is exact. */
const types = {
  int8: { to: 20, from: [20], serialize: String, parse: exactNumber },
  time: { to: 1184, from: [1082, 1083, 1114, 1184, 1186, 1266], serialize: String, parse: String },
};

function exactNumber(text: string): number | string {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : text;
}

/**
 * Runs a query in a connection of its own. Returns the rows of the last statement. Several statements are one
 * transaction, and cannot have parameters.
 */
export async function runQuery(
  url: string,
  { query, parameters, readOnly }: { query: string; parameters: unknown[]; readOnly: boolean },
): Promise<unknown[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {}, types, fetch_types: false, connect_timeout: 10 });
  try {
    const connection = await sql.reserve();
    try {
      if (readOnly) {
        await connection.unsafe("set role supabase_read_only_user; set default_transaction_read_only = on");
      }
      const result: unknown = await connection.unsafe(query, parameters.map(asParameter));
      return lastRows(result);
    } finally {
      connection.release();
    }
  } catch (error) {
    throw queryError(error);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function asParameter(value: unknown): string | number | boolean | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  return JSON.stringify(value);
}

/** Several statements give an array of results, one gives its rows. */
function lastRows(result: unknown): unknown[] {
  if (!Array.isArray(result)) return [];
  const rows: unknown[] = result;
  const last = rows.at(-1);
  return Array.isArray(last) ? [...last] : [...rows];
}

function queryError(error: unknown): ApiError {
  if (error instanceof postgres.PostgresError) {
    const lines = [`ERROR:  ${error.code}: ${error.message}`];
    if (error.detail) lines.push(`DETAIL:  ${error.detail}`);
    if (error.hint) lines.push(`HINT:  ${error.hint}`);
    return new ApiError(400, `Failed to run sql query: ${lines.join("\n")}`);
  }
  const text = error instanceof Error ? error.message : String(error);
  return new ApiError(500, `Failed to run sql query: ${text}`);
}
