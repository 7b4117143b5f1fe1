/** Schema files and migrations produce the same database, and only functions set a job's status. */
import { assert, assertEquals } from "#assert";
import postgres from "postgres";
import { prepareDatabase } from "../../local/stack/migrate.ts";
import { applySchemas, baselineFile, baselineMigration } from "../../local/stack/schema_files.ts";
import { testDatabase } from "../support/database.ts";

/** The catalog of our two schemas, one line per object: kind, name, definition, privileges, comment. */
const catalogQuery = `
  with ours as (select oid, nspname from pg_namespace where nspname in ('tunebase', 'tunebase_internal')),
  relations as (
    select c.*, c.oid::regclass::text as name from pg_class c join ours on ours.oid = c.relnamespace
  ),
  functions as (select p.* from pg_proc p join ours on ours.oid = p.pronamespace),
  lines (kind, name, definition, acl, comment) as (
    select 'schema', n.nspname::text, pg_get_userbyid(n.nspowner)::text, n.nspacl, obj_description(n.oid, 'pg_namespace')
    from pg_namespace n join ours using (oid)
    union all
    select 'relation', name, concat_ws(' ', relkind, relpersistence, pg_get_userbyid(relowner), relrowsecurity,
      relforcerowsecurity, relreplident, reloptions), relacl, obj_description(oid, 'pg_class')
    from relations
    union all
    select 'column', r.name || '.' || a.attname, concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod),
      a.attnotnull, a.attidentity, a.attgenerated, a.attcollation::regcollation, a.attstorage, a.attcompression,
      pg_get_expr(d.adbin, d.adrelid)), a.attacl, col_description(r.oid, a.attnum)
    from relations r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
    union all
    select 'constraint', r.name || '.' || c.conname, concat_ws(' ', pg_get_constraintdef(c.oid), c.convalidated), null,
      obj_description(c.oid, 'pg_constraint')
    from relations r join pg_constraint c on c.conrelid = r.oid
    union all
    select 'index', r.name, concat_ws(' ', pg_get_indexdef(r.oid), i.indisvalid), null, null
    from relations r join pg_index i on i.indexrelid = r.oid
    union all
    select 'policy', r.name || '.' || p.polname, concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[],
      pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), null,
      obj_description(p.oid, 'pg_policy')
    from relations r join pg_policy p on p.polrelid = r.oid
    union all
    select 'trigger', r.name || '.' || t.tgname, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled), null,
      obj_description(t.oid, 'pg_trigger')
    from relations r join pg_trigger t on t.tgrelid = r.oid and not t.tgisinternal
    union all
    select 'function', oid::regprocedure::text, pg_get_functiondef(oid) || pg_get_userbyid(proowner), proacl,
      obj_description(oid, 'pg_proc')
    from functions
    union all
    select 'type', t.oid::regtype::text, concat_ws(' ', t.typtype, t.typcategory, pg_get_userbyid(t.typowner)), t.typacl,
      obj_description(t.oid, 'pg_type')
    from pg_type t join ours on ours.oid = t.typnamespace
    union all
    select 'default privileges', coalesce(n.nspname, '(all)'), concat_ws(' ', d.defaclobjtype, pg_get_userbyid(d.defaclrole)),
      d.defaclacl, null
    from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
  )
  select concat_ws(e'\\n', kind || ' ' || name, definition,
    'acl ' || (select string_agg(item::text, ' ' order by item::text) from unnest(acl) item), 'comment ' || comment) as line
  from lines`;

async function catalog(sql: postgres.Sql): Promise<Set<string>> {
  return new Set((await sql.unsafe<{ line: string }[]>(catalogQuery)).map(({ line }) => line));
}

// The template of the test databases comes from the migrations.
const migrated = await testDatabase();
Deno.test.afterAll(() => migrated.close());

/** A database created from the schema files. */
async function withSchemas(run: (sql: postgres.Sql) => Promise<void>): Promise<void> {
  const name = `schemas_${crypto.randomUUID().replaceAll("-", "")}`;
  await migrated.sql.unsafe(`create database ${name}`);
  const url = new URL(migrated.url("postgres"));
  url.pathname = `/${name}`;
  try {
    await prepareDatabase(url.href);
    await applySchemas(url.href);
    const sql = postgres(url.href, { max: 1, onnotice: () => {} });
    await run(sql).finally(() => sql.end());
  } finally {
    await migrated.sql.unsafe(`drop database ${name} with (force)`);
  }
}

Deno.test("schema files and migrations produce the same catalog, function bodies and privileges included", async () => {
  const fromMigrations = await catalog(migrated.sql);
  assert(fromMigrations.size > 900, `the comparison sees ${fromMigrations.size} objects`);
  await withSchemas(async (sql) => {
    const fromSchemas = await catalog(sql);
    assertEquals({
      "only in the migrations": [...fromMigrations].filter((line) => !fromSchemas.has(line)),
      "only in the schema files": [...fromSchemas].filter((line) => !fromMigrations.has(line)),
    }, { "only in the migrations": [], "only in the schema files": [] });
    // A comparison without function bodies would also pass.
    await sql.unsafe(`create or replace function tunebase_internal.is_open(p_status text) returns boolean
      language sql immutable return p_status = 'queued'`);
    const changed = [...await catalog(sql)].filter((line) => !fromMigrations.has(line));
    assertEquals(changed.map((line) => line.split("\n")[0]), ["function tunebase_internal.is_open(text)"]);
  });
});

Deno.test("the baseline migration matches the schema files", async () => {
  assertEquals(await Deno.readTextFile(baselineFile), await baselineMigration());
});

Deno.test("jobs has at most five triggers, none of which sets a status", async () => {
  const triggers = await migrated.sql<{ name: string; before: boolean; body: string }[]>`
    select t.tgname as name, (t.tgtype & 2) <> 0 as before, p.prosrc as body
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = 'tunebase.jobs'::regclass and not t.tgisinternal order by 1`;
  assert(triggers.length <= 5, triggers.map(({ name }) => name).join(", "));
  for (const { name, before, body } of triggers) {
    assert(!/update\s+tunebase\.jobs|insert\s+into\s+tunebase\.jobs\b/i.test(body), `${name} writes jobs`);
    // Only a trigger that fires before the write can change the row by assigning to it.
    if (before) assert(!/\bnew\.\w+\s*:?=/i.test(body), `${name} changes the row`);
  }
});

Deno.test("no function passes values to another through a setting", async () => {
  const found = await migrated.sql<{ name: string }[]>`
    select proname as name from pg_proc
    where pronamespace = 'tunebase_internal'::regnamespace and prosrc ~ 'set_config'`;
  assertEquals(found.map(({ name }) => name), []);
});

Deno.test("is_open and is_terminal partition the statuses, and an index serves open jobs", async () => {
  const statuses = ["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"];
  const [row] = await migrated.sql`
    select array(select s from unnest(${statuses}::text[]) s where tunebase_internal.is_open(s)) as open,
      array(select s from unnest(${statuses}::text[]) s where tunebase_internal.is_terminal(s)) as terminal`;
  assertEquals(row, { open: statuses.slice(0, 4), terminal: statuses.slice(4) });
  await migrated.sql.begin(async (sql) => {
    await sql`set local enable_seqscan = off`;
    const plan = await sql`explain select count(*) from tunebase.jobs
      where project_id = ${crypto.randomUUID()} and tunebase_internal.is_open(status)`;
    assert(JSON.stringify(plan).includes("jobs_open"), JSON.stringify(plan));
  });
});

Deno.test("statuses are classified only by is_open and is_terminal", async () => {
  const lists = await migrated.sql<{ name: string }[]>`
    select proname as name from pg_proc
    where pronamespace = 'tunebase_internal'::regnamespace
      and prosrc ~ $re$in \\('succeeded', 'failed', 'cancelled'\\)|'validating_files', 'queued', 'running', 'paused'$re$`;
  assertEquals(lists.map(({ name }) => name), []);
});
