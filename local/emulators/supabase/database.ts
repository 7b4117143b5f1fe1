/** A project's database: PostgreSQL set up like on the platform, and queries like the Management API's. */
// @ts-types="./pg.d.ts"
import pg from "pg";
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

/** Converts values like the Management API: int8 to a number if that is exact; dates, times and intervals to text. */
const textTypes = [1082, 1114, 1184, 1186];
const int8 = 20;
const types = {
  getTypeParser: (oid: number, format?: "text" | "binary") => {
    if (oid === int8) return exactNumber;
    return textTypes.includes(oid) ? String : pg.types.getTypeParser(oid, format);
  },
};

function exactNumber(text: string): number | string {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : text;
}

/**
 * Runs a query in its own connection. Returns the rows of the last statement. Several statements run in one transaction and
 * cannot have parameters.
 */
export async function runQuery(
  url: string,
  { query, parameters, readOnly }: { query: string; parameters: unknown[]; readOnly: boolean },
): Promise<unknown[]> {
  // node-postgres, as on the platform, because it determines how parameters and values are converted.
  const client = new pg.Client({ connectionString: url, types, connectionTimeoutMillis: 10_000 });
  client.on("error", () => {}); // the running query reports it
  try {
    await client.connect();
    if (readOnly) {
      await client.query("set role supabase_read_only_user; set default_transaction_read_only = on");
    }
    // Without parameters, uses the simple protocol, which accepts several statements.
    const result = await (parameters.length === 0 ? client.query(query) : client.query(query, parameters));
    const last = Array.isArray(result) ? result.at(-1) : result;
    return last?.rows ?? [];
  } catch (error) {
    throw queryError(error);
  } finally {
    await client.end().catch(() => {});
  }
}

function queryError(error: unknown): ApiError {
  if (error instanceof pg.DatabaseError) {
    const lines = [`ERROR:  ${error.code}: ${error.message}`];
    if (error.detail) lines.push(`DETAIL:  ${error.detail}`);
    if (error.hint) lines.push(`HINT:  ${error.hint}`);
    return new ApiError(400, `Failed to run sql query: ${lines.join("\n")}`);
  }
  const text = error instanceof Error ? error.message : String(error);
  return new ApiError(500, `Failed to run sql query: ${text}`);
}
