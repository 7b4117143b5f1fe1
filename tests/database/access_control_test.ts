import { assert, assertEquals, assertRejects } from "#assert";
import postgres from "postgres";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase();
Deno.test.afterAll(() => database.close());
const { sql } = database;
const tables = [
  "projects",
  "project_members",
  "api_keys",
  "files",
  "jobs",
  "attempts",
  "events",
  "metrics",
  "checkpoints",
  "adapters",
  "inference_requests",
  "inference_usage",
  "stored_completions",
  "webhook_endpoints",
  "webhook_deliveries",
  "webhook_attempts",
  "notifications",
  "notification_channels",
];

/** Two users, each with a project that has one row in every table. */
const [ada, bob] = await Promise.all(["ada", "bob"].map(async (name) => {
  const [user] = await sql`insert into auth.users (email, email_confirmed_at)
    values (${`${name}@example.com`}, now()) returning id`;
  await sql`select tunebase_internal.add_owner(${`${name}@example.com`})`;
  const [member] = await sql`select project_id from tunebase.project_members where user_id = ${user?.id}`;
  const project = member?.project_id;
  const file = crypto.randomUUID();
  const job = crypto.randomUUID();
  const attempt = crypto.randomUUID();
  await sql`select tunebase_internal.store_first_api_key(${project}, 'k', '{jobs:read}', sha256(${name}::bytea), 'tb_…')`;
  await sql`insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, object)
    values (${file}, ${project}, 'f', 'fine-tune', 1, ${"0".repeat(64)}, 'processed', ${file})`;
  await sql`insert into tunebase.jobs (id, project_id, status, base_model, training_file, hyperparameters, plan, seed, created_by, due_at)
    values (${job}, ${project}, 'queued', 'SmolLM2-135M-Instruct', ${file}, '{}', '{}', 1, 'user', now())`;
  await sql`insert into tunebase.attempts (id, job_id, project_id, number, state, endpoint_id, gpu_config, execution_timeout_seconds,
      ttl_seconds, claim_deadline, reconcile_at)
    values (${attempt}, ${job}, ${project}, 1, 'submitting', 'e', '{}', 1, 1, now(), now())`;
  await sql`insert into tunebase.events (job_id, project_id, number, level, type, message) values (${job}, ${project}, 1, 'info', 'message', 'm')`;
  await sql`insert into tunebase.metrics (job_id, project_id, step, attempt, epoch) values (${job}, ${project}, 1, 1, 0)`;
  await sql`insert into tunebase.checkpoints (job_id, project_id, attempt_id, step, files) values (${job}, ${project}, ${attempt}, 1, '[]')`;
  await sql`insert into tunebase.adapters (job_id, project_id, attempt_id, name, base_model, manifest, prefix, bytes)
    values (${job}, ${project}, ${attempt}, ${name}, 'SmolLM2-135M-Instruct', '{}', 'p', 1)`;
  await sql`insert into tunebase.inference_requests (project_id, model, base_model, stream) values (${project}, 'm', 'b', false)`;
  await sql`insert into tunebase.stored_completions (id, project_id, model, messages, response, expires_at)
    values (gen_random_uuid(), ${project}, 'm', '[]', '{}', now())`;
  await sql`insert into tunebase.inference_usage (project_id, quarter_hour, model, requests, prompt_tokens, completion_tokens, seconds,
      cost_usd) values (${project}, now(), 'm', 1, 1, 1, 1, 0)`;
  const [endpoint] = await sql`insert into tunebase.webhook_endpoints (project_id, name, url, event_types)
    values (${project}, 'e', 'https://example.com/', '{fine_tuning.job.failed}') returning id`;
  const [delivery] = await sql`
    insert into tunebase.webhook_deliveries (project_id, event_id, event_type, event_created_at, channel, endpoint_id, body)
    values (${project}, gen_random_uuid(), 'fine_tuning.job.failed', now(), 'webhook', ${endpoint?.id}, '{}') returning id`;
  await sql`insert into tunebase.webhook_attempts (delivery_id, project_id, url, request_headers, duration_ms)
    values (${delivery?.id}, ${project}, 'https://example.com/', '{}', 1)`;
  const [notification] = await sql`
    insert into tunebase.notifications (project_id, event_id, type, level, title, text)
    values (${project}, gen_random_uuid(), 'fine_tuning.job.failed', 'error', 't', 't') returning id`;
  await sql`insert into tunebase.notification_reads (notification_id, user_id) values (${notification?.id}, ${user?.id})`;
  const [channel] =
    await sql`insert into tunebase.notification_channels (project_id, kind, target, event_types)
    values (${project}, 'slack', 'hooks.slack.com/…', '{fine_tuning.job.failed}') returning id`;
  await sql`insert into tunebase_internal.channel_secrets values (${channel?.id}, 'sealed')`;
  return { id: user?.id as string, project };
}));

/** Runs as a signed-in user, as PostgREST does. */
async function as<T>(
  role: "authenticated" | "anon",
  user: string | null,
  run: (sql: postgres.TransactionSql) => Promise<T>,
): Promise<T> {
  const done = await sql.begin(async (transaction) => {
    const claims = JSON.stringify({ sub: user, role });
    await transaction`select set_config('request.jwt.claims', ${claims}, true), set_config('role', ${role}, true)`;
    return { value: await run(transaction) };
  });
  return done.value;
}

for (const table of tables) {
  Deno.test(`a member can read only their own project's rows of ${table} through the database`, async () => {
    const column = table === "projects" ? "id" : "project_id";
    const seen = await as(
      "authenticated",
      ada?.id ?? "",
      (t) => t.unsafe(`select ${column} as project from tunebase.${table}`),
    );
    assertEquals(seen.map(({ project }) => project), [ada?.project]);
    const outsider = await as(
      "authenticated",
      crypto.randomUUID(),
      (t) => t.unsafe(`select 1 from tunebase.${table}`),
    );
    assertEquals(outsider.length, 0);
    await assertRejects(() => as("anon", null, (t) => t.unsafe(`select 1 from tunebase.${table}`)));
  });
  Deno.test(`a member cannot write ${table}`, async () => {
    await assertRejects(() =>
      as("authenticated", ada?.id ?? "", (t) => t.unsafe(`delete from tunebase.${table}`))
    );
    await assertRejects(() =>
      as("authenticated", ada?.id ?? "", (t) => t.unsafe(`update tunebase.${table} set created_at = now()`))
    );
  });
}

Deno.test("read marks are visible only to their member and change only through the API", async () => {
  const seen = await as(
    "authenticated",
    ada?.id ?? "",
    (t) => t`select user_id from tunebase.notification_reads`,
  );
  assertEquals(seen.map(({ user_id }) => user_id), [ada?.id]);
  await assertRejects(() =>
    as("authenticated", ada?.id ?? "", (t) => t`delete from tunebase.notification_reads`)
  );
  await assertRejects(() => as("anon", null, (t) => t`select 1 from tunebase.notification_reads`));
});

Deno.test("JWT claims do not leak into the next transaction", async () => {
  await as("authenticated", bob?.id ?? "", (t) => t`select 1`);
  const seen = await sql.begin(async (t) => {
    await t`select set_config('role', 'authenticated', true)`;
    return [...await t`select 1 from tunebase.jobs`];
  });
  assertEquals(seen.length, 0);
});

Deno.test("a viewer can read and not write, and loses access on removal", async () => {
  const [viewer] = await sql`insert into auth.users (email) values ('viewer@example.com') returning id`;
  await sql`insert into tunebase.project_members (project_id, user_id, role) values (${ada?.project}, ${viewer?.id}, 'viewer')`;
  const jobs = () =>
    as("authenticated", viewer?.id, (t) => t`select project_id from tunebase.jobs`).then((rows) => [...rows]);
  assertEquals((await jobs()).map(({ project_id }) => project_id), [ada?.project]);
  await assertRejects(() =>
    as("authenticated", viewer?.id, (t) => t`update tunebase.jobs set status = 'cancelled'`)
  );
  await assertRejects(() =>
    as("authenticated", viewer?.id, (t) => t`update tunebase.project_members set role = 'owner'`)
  );
  await sql`delete from tunebase.project_members where user_id = ${viewer?.id}`;
  assertEquals(await jobs(), []);
});

Deno.test("claims without a valid user id grant no access", async () => {
  for (const claims of ["{}", '{"sub":null}', '{"role":"service_role"}', ""]) {
    const seen = await sql.begin(async (t) => {
      await t`select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true)`;
      return [...await t`select 1 from tunebase.jobs`, ...await t`select 1 from tunebase.api_keys`];
    });
    assertEquals(seen.length, 0, claims);
  }
  await assertRejects(() => as("authenticated", "' or true --", (t) => t`select 1 from tunebase.jobs`));
});

Deno.test("an anonymous user can read nothing, even as a member", async () => {
  const seen = (is_anonymous: boolean) =>
    sql.begin(async (t) => {
      const claims = JSON.stringify({ sub: ada?.id, role: "authenticated", is_anonymous });
      await t`select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true)`;
      return (await t`select 1 from tunebase.jobs`).length +
        (await t`select 1 from tunebase.base_models`).length;
    });
  assertEquals([await seen(true), await seen(false)], [0, 2]);
});

Deno.test("a host app user without a project cannot even list models", async () => {
  const seen = (user: string) => as("authenticated", user, (t) => t`select id from tunebase.base_models`);
  assertEquals((await seen(crypto.randomUUID())).length, 0);
  assertEquals((await seen(ada?.id ?? "")).length, 1);
});

const strangers = ["anon", "authenticated", "tunebase_api", "tunebase_callback", "tunebase_scheduler"];

Deno.test("client roles cannot write any table, and only authenticated can read those of tunebase", async () => {
  const rights = await sql<{ role: string; table: string; schema: string; rights: string[] }[]>`
    select r.role, n.nspname as schema, c.relname as table, array_agg(p.privilege) as rights
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join unnest(${strangers}::text[]) r (role)
    cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']) p (privilege)
    where n.nspname in ('tunebase', 'tunebase_internal') and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and (has_table_privilege(r.role, c.oid, p.privilege)
        or (p.privilege in ('SELECT', 'INSERT', 'UPDATE') and has_any_column_privilege(r.role, c.oid, p.privilege)))
    group by 1, 2, 3 order by 1, 2, 3`;
  assert(rights.length >= tables.length);
  for (const right of rights) {
    assertEquals(
      [right.role, right.schema, right.rights],
      ["authenticated", "tunebase", ["SELECT"]],
      right.table,
    );
  }
});

Deno.test("every policy allows authenticated to read rows of their own projects only", async () => {
  const policies = await sql`
    select tablename, cmd, roles::text[] as roles, qual, with_check from pg_policies where schemaname in ('tunebase', 'tunebase_internal')`;
  assert(policies.length >= tables.length);
  for (const { tablename, cmd, roles, qual, with_check } of policies) {
    assertEquals([cmd, roles, with_check], ["SELECT", ["authenticated"], null], tablename);
    // Base models are visible to all members; read marks only to their user.
    const own = /\b(project_id|id) IN \( SELECT tunebase_internal\.member_project_ids\(\)/.test(qual) ||
      /user_id = /.test(qual) ||
      /enabled AND \(EXISTS \( SELECT[^()]*FROM tunebase_internal\.member_project_ids\(\)/.test(qual);
    assert(own, `${tablename}: ${qual}`);
  }
});

Deno.test("every tunebase table with a project_id filters by it", async () => {
  const found = await sql`
    select c.table_name from information_schema.columns c
    where c.table_schema = 'tunebase' and c.column_name = 'project_id'
      and not exists (
        select from pg_policies p where p.schemaname = 'tunebase' and p.tablename = c.table_name and p.qual like '%member_project_ids%'
      )`;
  assertEquals([...found], []);
});

Deno.test("client roles can call only member_project_ids", async () => {
  const reachable = await sql`
    select distinct n.nspname || '.' || p.proname as name, r.role
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    cross join unnest(array['anon', 'authenticated']) r (role)
    where n.nspname in ('tunebase', 'tunebase_internal') and has_function_privilege(r.role, p.oid, 'execute')`;
  assertEquals(reachable.map(({ name, role }) => [name, role]), [[
    "tunebase_internal.member_project_ids",
    "authenticated",
  ]]);
  const [row] = await as(
    "authenticated",
    ada?.id ?? "",
    (t) => t`select array_agg(id) as mine from tunebase.projects`,
  );
  assertEquals(row?.mine, [ada?.project]);
  // Only the policies can call it; no client role can use the schema.
  await assertRejects(() =>
    as("authenticated", ada?.id ?? "", (t) => t`select tunebase_internal.member_project_ids()`)
  );
  await assertRejects(() =>
    as("authenticated", ada?.id ?? "", (t) => t`select * from tunebase_internal.api_key_hashes`)
  );
});

/** Quoted names in the sources of an edge function and of the shared modules. */
async function namesIn(folder: string): Promise<Set<string>> {
  const found = new Set<string>();
  const read = async (directory: URL): Promise<void> => {
    for await (const entry of Deno.readDir(directory)) {
      const path = new URL(`${entry.name}${entry.isDirectory ? "/" : ""}`, directory);
      if (entry.isDirectory) await read(path);
      else {for (const [, name] of (await Deno.readTextFile(path)).matchAll(/"([a-z_]+)"/g)) {
          found.add(name ?? "");
        }}
    }
  };
  await read(new URL(`../../supabase/functions/${folder}/`, import.meta.url));
  return found;
}

Deno.test("each edge function's role can execute exactly the SQL functions its code calls", async () => {
  const shared = await namesIn("_shared");
  for (
    const [role, folder] of [
      ["tunebase_api", "tunebase"],
      ["tunebase_callback", "tunebase-callback"],
      ["tunebase_scheduler", "tunebase-scheduler"],
    ] as const
  ) {
    const connection = postgres(database.url(role), { max: 1, onnotice: () => {} });
    const own = await connection<{ name: string }[]>`
      select p.proname as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'tunebase_internal' and has_function_privilege(p.oid, 'execute')`;
    await connection.end();
    const called = await namesIn(folder);
    const unused = own.map(({ name }) => name).filter((name) => !called.has(name) && !shared.has(name));
    assertEquals(unused, [], `${role} may call what supabase/functions/${folder} does not`);
    assert(own.length > 3);
  }
  const [escape] = await sql`
    select count(*)::int as roles from pg_roles
    where rolname like 'tunebase_%' and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolinherit)`;
  assertEquals(escape?.roles, 0);
  assertEquals([
    ...await sql`
    select m.roleid::regrole::text from pg_auth_members m where m.member::regrole::text like 'tunebase_%'`,
  ], []);
});

Deno.test("every function has an empty search_path, and every table has row-level security", async () => {
  const open = await sql`
    select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('tunebase', 'tunebase_internal') and not coalesce('search_path=""' = any (p.proconfig), false)
      -- A body that is no string has its names resolved when it is made.
      and (p.prosecdef or p.prosqlbody is null)`;
  assertEquals([...open], []);
  const bare = await sql`
    select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('tunebase', 'tunebase_internal') and c.relkind = 'r' and not c.relrowsecurity`;
  assertEquals([...bare], []);
});

Deno.test("every foreign key has an index", async () => {
  const missing = await sql`
    select c.conrelid::regclass::text as "table", c.conname as name from pg_constraint c
    join pg_namespace n on n.oid = c.connamespace
    where c.contype = 'f' and n.nspname in ('tunebase', 'tunebase_internal')
      and not exists (
        select from pg_index i where i.indrelid = c.conrelid and (i.indkey::smallint[])[0] = c.conkey[1]
      )`;
  assertEquals(missing.map(({ name }) => name), []);
});

Deno.test("ids sort by time", async () => {
  const rows = await sql`select tunebase_internal.uuid7() as id, pg_sleep(0.002) from generate_series(1, 5)`;
  const ids = rows.map(({ id }) => String(id));
  assertEquals(ids, [...ids].sort());
  assert(ids.every((id) => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)));
});
