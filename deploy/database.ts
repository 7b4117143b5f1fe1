/** Queries of the project's database that both the steps and the checks use. */
import * as z from "zod";

/** Runs SQL: `SupabaseApi`. */
export interface Queryable {
  query<T>(sql: string, schema: z.ZodType<T>, parameters?: readonly unknown[]): Promise<T>;
}

/** The roles that the functions connect as, and the function secret with each one's database URL. */
export const databaseRoles = {
  tunebase_api: "TUNEBASE_API_DB_URL",
  tunebase_callback: "TUNEBASE_CALLBACK_DB_URL",
  tunebase_scheduler: "TUNEBASE_SCHEDULER_DB_URL",
} as const;

/** Whether a table or view exists. `name` is a constant that includes the schema: `tunebase.jobs`. */
export async function hasRelation(database: Queryable, name: string): Promise<boolean> {
  const [row] = await database.query(
    `select to_regclass('${name}') is not null as exists`,
    z.array(z.object({ exists: z.boolean() })),
  );
  return row?.exists ?? false;
}

const history = "supabase_migrations.schema_migrations";

/** The versions of all applied migrations, including the host app's. */
export async function appliedMigrations(database: Queryable): Promise<string[]> {
  if (!await hasRelation(database, history)) return [];
  const rows = await database.query(
    `select version from ${history}`,
    z.array(z.object({ version: z.string() })),
  );
  return rows.map(({ version }) => version);
}

/** The Postgres extensions: pg_cron and pg_net for the timer, Vault for its secrets. */
export const requiredExtensions = ["pg_cron", "pg_net", "supabase_vault"] as const;

/** The {@link requiredExtensions} that are not installed. */
export async function missingExtensions(database: Queryable): Promise<string[]> {
  const present = await database.query(
    "select extname from pg_catalog.pg_extension",
    z.array(z.object({ extname: z.string() })),
  );
  return requiredExtensions.filter((name) => !present.some(({ extname }) => extname === name));
}
