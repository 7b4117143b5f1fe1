/**
 * Installing Tunebase into a database with an existing app, and removing it: the app's catalog and rows stay the same.
 * Runs on its own server, because roles belong to the server.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import postgres from "postgres";
import { cache, root } from "../../local/state_dir.ts";
import { prepareDatabase, supabaseCli } from "../../local/stack/migrate.ts";
import { join, removeIfThere } from "../../local/paths.ts";
import { postgresDirectory, startPostgres } from "../../local/stack/postgres.ts";

const home = join(cache, "guest");
await Deno.mkdir(home, { recursive: true });
await removeIfThere(await postgresDirectory(home));
const server = await startPostgres({ home, port: 0, password: "guest", parameters: { fsync: "off" } });
const app = await Deno.makeTempDir({ prefix: "tunebase host app " });
Deno.test.afterAll(async () => {
  await admin.end();
  await server.stop();
  await removeIfThere(await postgresDirectory(home));
  await Deno.remove(app, { recursive: true });
});

const read = (path: string) => Deno.readTextFile(join(root, path));
const ours = (await Array.fromAsync(Deno.readDir(join(root, "supabase/migrations")))).map(({ name }) => name)
  .sort();
/** The host app's own first migration. */
const appMigration = "20240101000000_app.sql";

// The app's repository: a Supabase project with one migration, to which ours are added.
await Deno.mkdir(join(app, "supabase/migrations"), { recursive: true });
await Deno.writeTextFile(join(app, "supabase/config.toml"), 'project_id = "app"\n');
await Deno.writeTextFile(
  join(app, "supabase/migrations", appMigration),
  await read("tests/fixtures/host_app.sql"),
);

const push = (url: string, folder: string, ...more: string[]) =>
  supabaseCli(["db", "push", `--remote=${url}?sslmode=disable`, "--yes", `--workdir=${folder}`, ...more]);

const admin = postgres(server.url, { max: 1, onnotice: () => {} });
const address = (name: string) => Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
// The project's database with the app's migration; each test has a copy.
await admin.unsafe("create database app");
await prepareDatabase(address("app"));
await push(address("app"), app);

let copies = 0;
/** Runs with a copy of the app's database, and removes it. */
async function withApp(run: (sql: postgres.Sql, url: string) => Promise<void>): Promise<void> {
  const name = `app_${++copies}`;
  await admin.unsafe(`create database ${name} template app`);
  const sql = postgres(address(name), { max: 1, onnotice: () => {} });
  try {
    await run(sql, address(name));
  } finally {
    await sql.end();
    await admin.unsafe(`drop database ${name} with (force)`);
    // Roles belong to the server.
    await admin.unsafe("drop role if exists tunebase_api, tunebase_callback, tunebase_scheduler");
  }
}

const catalogSql = await read("tests/fixtures/catalog.sql");
/** Everything that an install must not change: the catalog and the app's rows. */
async function snapshot(sql: postgres.Sql): Promise<string[]> {
  const rows = await sql.unsafe<{ line: string }[]>(catalogSql);
  const lines = rows.map(({ line }) => line);
  for (
    const table of [
      "public.projects",
      "public.files",
      "public.jobs",
      "public.events",
      "public.metrics",
      "auth.users",
      "storage.objects",
      "realtime.messages",
    ]
  ) {
    const [content] = await sql.unsafe(
      `select coalesce(json_agg(t order by t::text), '[]')::text as rows from ${table} t`,
    );
    lines.push(`rows of ${table} ${content?.rows}`);
  }
  return lines;
}

/** Our objects in the database, found by their names. */
async function remains(sql: postgres.Sql): Promise<string[]> {
  const found = await sql<{ name: string }[]>`
    select 'schema ' || nspname as name from pg_namespace where nspname like 'tunebase%'
    union all select 'role ' || rolname from pg_roles where rolname like 'tunebase%'
    union all select 'policy ' || policyname from pg_policies where policyname like 'tunebase%'
    union all select 'bucket ' || id from storage.buckets where id like 'tunebase%'
    union all select 'cron ' || jobname from cron.job where jobname like 'tunebase%'
    union all select 'vault ' || name from vault.secrets where name like 'tunebase%'
    union all select 'migration ' || version from supabase_migrations.schema_migrations where version >= '20261130'
    order by 1`;
  return found.map(({ name }) => name);
}

/** Copies our migrations into the app's repository and pushes them, as in docs/deploy.md. */
async function installInto(url: string): Promise<void> {
  for (const name of ours) {
    await Deno.copyFile(join(root, "supabase/migrations", name), join(app, "supabase/migrations", name));
  }
  try {
    await push(url, app);
  } finally {
    for (const name of ours) await Deno.remove(join(app, "supabase/migrations", name));
  }
}

/** Applies our migrations as a push does, each in a transaction, without starting the CLI, which takes seconds of CPU. */
async function applyMigrations(sql: postgres.Sql): Promise<void> {
  for (const name of ours) {
    const text = await read(`supabase/migrations/${name}`);
    await sql.begin((transaction) => transaction.unsafe(text));
  }
}

Deno.test("a host app is unchanged by installing and removing Tunebase", () =>
  withApp(async (sql, url) => {
    const before = await snapshot(sql);
    assert(before.length > 150, `${before.length} lines`);
    await installInto(url);
    assertEquals(await snapshot(sql), before);
    const added = await remains(sql);
    await installInto(url);
    assertEquals(
      [await remains(sql), await snapshot(sql)],
      [added, before],
      "the second push changes nothing",
    );

    // Manual steps from docs/deploy.md.
    await sql`select cron.schedule('tunebase-tick', '10 seconds', 'select tunebase_internal.wake_scheduler()')`;
    await sql`select cron.schedule('tunebase-spend', '30 seconds', 'select tunebase_internal.enforce_spend()')`;
    await sql`select vault.create_secret('https://…', 'tunebase_scheduler_url')`;
    await sql`select vault.create_secret('…', 'tunebase_scheduler_secret')`;
    await sql.unsafe("alter role tunebase_api login password 'x'");
    await sql.unsafe(await read("supabase/seed.sql"));
    await sql`select tunebase_internal.add_owner('ada@app.example')`;
    await sql`insert into storage.objects (bucket_id, name, metadata, version)
    values ('tunebase-datasets', 'a', '{}', gen_random_uuid())`;
    console.log(`installed: ${(await remains(sql)).join(", ")}`);

    const uninstall = async () => await sql.unsafe(await read("supabase/uninstall.sql"));
    const refused = await assertRejects(uninstall, postgres.PostgresError);
    assertStringIncludes(refused.message, "tunebase-datasets (1 objects)");
    await sql.unsafe("rollback");
    assert((await remains(sql)).length > added.length, "nothing was removed");

    await sql`delete from storage.objects where bucket_id = 'tunebase-datasets'`; // as the Storage API does
    await uninstall();
    assertEquals(await remains(sql), []);
    assertEquals(await snapshot(sql), before);
    await installInto(url);
    assertEquals(await remains(sql), added, "it can be installed again");
  }));

Deno.test("uninstall.sql deletes the history of every migration", async () => {
  const text = await read("supabase/uninstall.sql");
  assertEquals(
    [...text.matchAll(/'(\d{14})'/g)].map(([, version]) => version),
    ours.map((name) => name.slice(0, 14)),
  );
});

Deno.test("db push into a project with its own migrations is rejected and changes nothing", () =>
  withApp(async (sql, url) => {
    const before = await snapshot(sql);
    const error = await assertRejects(() => push(url, root));
    assertStringIncludes(String(error), "Remote migration versions not found in local migrations directory");
    assertEquals([await remains(sql), await snapshot(sql)], [[], before]);
  }));

const collisions: [string, string, string][] = [
  [
    "a schema tunebase",
    "create schema tunebase; create table tunebase.t (a int)",
    "Schema tunebase already exists",
  ],
  [
    "a public bucket tunebase-datasets",
    "insert into storage.buckets (id, name, public) values ('tunebase-datasets', 'tunebase-datasets', true)",
    "Storage bucket tunebase-datasets already exists",
  ],
  [
    "a cron job tunebase-tick",
    "select cron.schedule('tunebase-tick', '* * * * *', 'select 3')",
    "Cron job tunebase-tick",
  ],
  [
    "a policy of our name",
    "create policy tunebase_buckets_are_closed on storage.objects for select using (true)",
    "Policy tunebase_buckets_are_closed on storage.objects already exists",
  ],
];
for (const [n, [what, statement, message]] of collisions.entries()) {
  Deno.test(`finding 1: ${what} stops the push before anything changes, and anon can read nothing`, () =>
    withApp(async (sql, url) => {
      await sql.unsafe(statement);
      const [before, there] = [await snapshot(sql), await remains(sql)];
      const error = await assertRejects(() => n === 0 ? installInto(url) : applyMigrations(sql));
      assertStringIncludes(String(error), message);
      assertEquals([await snapshot(sql), await remains(sql)], [before, there]);
    }));
}

Deno.test("finding 1: host app roles have no access between migrations either, whatever the default privileges", () =>
  withApp(async (sql) => {
    const open = () =>
      sql`
      select r.role, c.oid::regclass::text as "table", p.privilege
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      cross join unnest(array['anon', 'authenticated', 'app_worker', 'app_editor']) r (role)
      cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p (privilege)
      where n.nspname like 'tunebase%' and c.relkind in ('r', 'p', 'v', 'm') and has_table_privilege(r.role, c.oid, p.privilege)
        and not (r.role = 'authenticated' and p.privilege = 'SELECT' and c.relrowsecurity and n.nspname = 'tunebase')
      union all
      select r.role, f.oid::regprocedure::text, 'EXECUTE'
      from pg_proc f join pg_namespace n on n.oid = f.pronamespace
      cross join unnest(array['anon', 'authenticated', 'app_worker', 'app_editor']) r (role)
      where n.nspname like 'tunebase%' and has_function_privilege(r.role, f.oid, 'execute')
        and not (r.role = 'authenticated' and f.proname = 'member_project_ids')
      union all
      select r.role, n.nspname, 'USAGE'
      from pg_namespace n cross join unnest(array['anon', 'authenticated', 'app_worker', 'app_editor']) r (role)
      where n.nspname like 'tunebase%' and has_schema_privilege(r.role, n.oid, 'usage')
        and not (r.role = 'authenticated' and n.nspname = 'tunebase')`;
    for (const name of ours) {
      await sql.unsafe(await read(`supabase/migrations/${name}`));
      assertEquals([...await open()], [], name);
      const bare = await sql`select c.oid::regclass::text as "table" from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      where n.nspname like 'tunebase%' and c.relkind in ('r', 'p') and not c.relrowsecurity`;
      assertEquals([...bare], [], `${name}: row-level security`);
    }
  }));

Deno.test("finding 2: our buckets are closed to every user despite permissive Storage policies", () =>
  withApp(async (sql) => {
    await applyMigrations(sql);
    const version = crypto.randomUUID();
    await sql`insert into storage.objects (bucket_id, name, metadata, version)
    values ('tunebase-datasets', 'secret.jsonl', '{}', ${version})`;
    for (const role of ["anon", "authenticated", "app_editor"]) {
      const as = <T>(run: (t: postgres.TransactionSql) => Promise<T>) =>
        sql.begin(async (t) => {
          await t`select set_config('role', ${role}, true)`;
          return { value: await run(t) };
        }).then(({ value }) => value);
      const seen = await as((t) => t`select bucket_id from storage.objects`);
      assertEquals(
        seen.map(({ bucket_id }) => bucket_id),
        ["avatars"],
        `${role}: the app's own are as open as before`,
      );
      const buckets = await as((t) => t`select id from storage.buckets order by id`);
      assertEquals(buckets.map(({ id }) => id), ["avatars", "datasets"]);
      const changed = await as(async (t) => [
        (await t`update storage.objects set name = 'x' where bucket_id like 'tunebase-%'`).count,
        (await t`delete from storage.objects where bucket_id like 'tunebase-%'`).count,
        (await t`update storage.buckets set public = true where id like 'tunebase-%'`).count,
      ]);
      assertEquals(changed, [0, 0, 0], role);
      await assertRejects(() =>
        as((t) =>
          t`insert into storage.objects (bucket_id, name, metadata, version)
          values ('tunebase-datasets', 'planted.jsonl', '{}', ${version})`
        )
      );
      await assertRejects(() =>
        as((t) => t`update storage.objects set bucket_id = 'tunebase-datasets' where bucket_id = 'avatars'`)
      );
      await as((t) => t`update storage.objects set name = 'ada.png' where bucket_id = 'avatars'`);
    }
    await sql`delete from storage.objects where bucket_id = 'tunebase-datasets'`;
  }));

Deno.test("finding 3: host app users have no access, before and after one becomes an owner", () =>
  withApp(async (sql) => {
    await applyMigrations(sql);
    await sql.unsafe(await read("supabase/seed.sql"));
    const [ada] = await sql`select id from auth.users where email = 'ada@app.example'`;
    const seenBy = (role: string, sub: string | null) =>
      sql.begin(async (t) => {
        const claims = JSON.stringify({ sub, role });
        await t`select set_config('request.jwt.claims', ${claims}, true), set_config('role', ${role}, true)`;
        // Equivalent to supabase.schema("tunebase").from(…).select() through the Data API.
        const [row] = await t`select (select count(*)::int from tunebase.projects) as projects,
        (select count(*)::int from tunebase.base_models) as models, (select count(*)::int from tunebase.jobs) as jobs`;
        return { ...row };
      });
    assertEquals(await seenBy("authenticated", ada?.id), { projects: 0, models: 0, jobs: 0 });
    await sql`select tunebase_internal.add_owner('ada@app.example')`;
    assertEquals(await seenBy("authenticated", ada?.id), { projects: 1, models: 1, jobs: 0 });
    await assertRejects(
      () => seenBy("anon", null),
      postgres.PostgresError,
      "permission denied for schema tunebase",
    );
    await assertRejects(
      () => sql`select tunebase_internal.add_owner('bob@app.example')`.then(() => {}),
      postgres.PostgresError,
      "has not confirmed it yet",
    );
  }));
