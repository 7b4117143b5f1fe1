/** The database: migrations, roles, extensions and the pooler in front of it. */
import * as z from "zod";
import { appliedMigrations, databaseRoles, missingExtensions, requiredExtensions } from "../../database.ts";
import { pluralize } from "../../../cli/terminal/format.ts";
import { type Check, type CheckGroup, deployCommand, failed, ok, warning } from "../check.ts";
import type { Release, SupabaseReader } from "../installation.ts";

const roles = Object.keys(databaseRoles);

export const databaseChecks: CheckGroup = {
  id: "database",
  async run({ supabase }, release) {
    return await Promise.all([
      checkServices(supabase),
      checkMigrations(supabase, release),
      checkRoles(supabase),
      checkExtensions(supabase),
      checkPooler(supabase),
    ]);
  },
};

async function checkServices(supabase: SupabaseReader): Promise<Check> {
  const unhealthy = await supabase.unhealthy();
  return unhealthy.length === 0 ? ok("services", "the project's services are healthy") : failed(
    "services",
    unhealthy.join(", "),
    "See the project's page in the Supabase dashboard, and https://status.supabase.com.",
  );
}

async function checkMigrations(supabase: SupabaseReader, { migrations }: Release): Promise<Check> {
  const applied = await appliedMigrations(supabase);
  const pending = migrations.filter((version) => !applied.includes(version));
  return pending.length === 0 ? ok("migrations", `all ${migrations.length} are applied`) : failed(
    "migrations",
    `${pluralize(pending.length, "migration is", "migrations are")} pending: ${pending.join(", ")}`,
    `Apply: ${deployCommand}`,
  );
}

async function checkRoles(supabase: SupabaseReader): Promise<Check> {
  const found = await supabase.query(
    `select rolname, rolcanlogin, rolsuper or rolbypassrls or rolcreaterole or rolreplication as is_privileged
    from pg_catalog.pg_roles where rolname in (${roles.map((role) => `'${role}'`).join(", ")})`,
    z.array(z.object({ rolname: z.string(), rolcanlogin: z.boolean(), is_privileged: z.boolean() })),
  );
  const missing = roles.filter((role) => !found.some(({ rolname }) => rolname === role));
  if (missing.length > 0) {
    return failed("roles", `missing: ${missing.join(", ")}`, `Apply the migrations: ${deployCommand}`);
  }
  const locked = found.filter(({ rolcanlogin }) => !rolcanlogin).map(({ rolname }) => rolname);
  if (locked.length > 0) {
    return failed("roles", `cannot log in: ${locked.join(", ")}`, `Set their passwords: ${deployCommand}`);
  }
  const privileged = found.filter(({ is_privileged }) => is_privileged).map(({ rolname }) => rolname);
  if (privileged.length > 0) {
    return failed(
      "roles",
      `too many rights: ${privileged.join(", ")}`,
      privileged.map((role) => `alter role ${role} nosuperuser nobypassrls nocreaterole noreplication;`).join(
        " ",
      ),
    );
  }
  return ok("roles", `${roles.join(", ")} can log in, without special rights`);
}

async function checkExtensions(supabase: SupabaseReader): Promise<Check> {
  const missing = await missingExtensions(supabase);
  return missing.length === 0 ? ok("extensions", requiredExtensions.join(", ")) : failed(
    "extensions",
    `not installed: ${missing.join(", ")}`,
    `${missing.map((name) => `create extension ${name};`).join(" ")} Or: ${deployCommand}`,
  );
}

async function checkPooler(supabase: SupabaseReader): Promise<Check> {
  const { db_host, db_port, pool_mode } = await supabase.pooler();
  const found = `${db_host}:${db_port}, ${pool_mode} mode`;
  return pool_mode === "transaction" ? ok("pooler", found) : warning(
    "pooler",
    `${found}: each isolate holds a connection for its whole lifetime`,
    "Connect the functions through the transaction pooler (port 6543).",
  );
}
