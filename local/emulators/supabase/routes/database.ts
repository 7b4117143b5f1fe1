/** Queries, migrations, the database's password and the pooler's address. */
import { Hono } from "hono";
import * as z from "zod";
import { runQuery } from "../database.ts";
import { ApiError } from "../errors.ts";
import type { Project } from "../project.ts";
import { bodyOf, type Platform, projectOf } from "./context.ts";

const Query = z.object({
  query: z.string().min(1),
  parameters: z.array(z.unknown()).default([]),
  read_only: z.boolean().default(false),
});
const Migration = z.object({
  query: z.string().min(1),
  name: z.string().optional(),
  rollback: z.string().optional(),
});

export function databaseRoutes(platform: Platform): Hono {
  const app = new Hono().basePath("/projects/:ref");
  app.post("/database/query", async (c) => {
    const project = projectOf(platform, c);
    const { query, parameters, read_only: readOnly } = await bodyOf(c, Query);
    return c.json(await run(project, query, parameters, readOnly), 201);
  });
  app.post("/database/query/read-only", async (c) => {
    const project = projectOf(platform, c);
    const { query, parameters } = await bodyOf(c, Query);
    return c.json(await run(project, query, parameters, true), 201);
  });

  app.get("/database/migrations", async (c) => {
    const project = projectOf(platform, c);
    const [table] = z.array(z.object({ exists: z.boolean() })).parse(
      await run(project, "select to_regclass('supabase_migrations.schema_migrations') is not null as exists"),
    );
    if (!table?.exists) return c.json([]);
    return c.json(
      z.array(z.unknown()).parse(
        await run(
          project,
          "select version, name from supabase_migrations.schema_migrations order by version",
        ),
      ),
    );
  });
  app.post("/database/migrations", async (c) => {
    const project = projectOf(platform, c);
    const { query, name } = await bodyOf(c, Migration);
    const key = c.req.header("idempotency-key") ?? null;
    await run(project, createMigrations);
    if (key !== null) {
      const found = await run(project, migrationOfKey, [key]);
      if (found.length > 0) return c.json([]);
    }
    // One transaction: several statements in one query cannot have parameters.
    const version = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
    const insert =
      `insert into supabase_migrations.schema_migrations (version, statements, name, idempotency_key)
      values (${[version, `{${JSON.stringify(query)}}`, name ?? "", key].map(literal).join(", ")})`;
    await run(project, `${query}\n;\n${insert}`);
    return c.json([]);
  });

  app.patch("/database/password", async (c) => {
    const project = projectOf(platform, c);
    const { password } = await bodyOf(c, z.object({ password: z.string().min(4) }));
    await project.setDatabasePassword(password);
    return c.json({ message: "Successfully updated database password" });
  });

  app.get("/config/database/pooler", (c) => {
    const { ref, ports } = projectOf(platform, c).record;
    const address = `postgresql://postgres.${ref}:[YOUR-PASSWORD]@127.0.0.1:${ports.pooler}/postgres`;
    return c.json([{
      identifier: ref,
      database_type: "PRIMARY",
      is_using_scram_auth: true,
      db_user: `postgres.${ref}`,
      db_host: "127.0.0.1",
      db_port: ports.pooler,
      db_name: "postgres",
      connection_string: address,
      connectionString: address,
      default_pool_size: null,
      max_client_conn: null,
      pool_mode: "transaction",
    }]);
  });
  return app;
}

const createMigrations = `
  create schema if not exists supabase_migrations;
  create table if not exists supabase_migrations.schema_migrations (version text primary key);
  alter table supabase_migrations.schema_migrations
    add column if not exists statements text[], add column if not exists name text,
    add column if not exists idempotency_key text unique`;
const migrationOfKey = "select version from supabase_migrations.schema_migrations where idempotency_key = $1";

const literal = (value: string | null) =>
  value === null ? "null" : ` E'${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;

async function run(
  project: Project,
  query: string,
  parameters: unknown[] = [],
  readOnly = false,
): Promise<unknown[]> {
  const url = project.databaseUrl;
  if (project.status !== "ACTIVE_HEALTHY" || url === null) {
    throw new ApiError(500, "Failed to run sql query: the project's database is not up");
  }
  return await runQuery(url, { query, parameters, readOnly });
}
