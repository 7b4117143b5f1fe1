import { assert, assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { testDatabase } from "./database.ts";

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
  "webhook_endpoints",
  "webhook_deliveries",
  "webhook_attempts",
  "notifications",
  "notification_channels",
];

/** Two users, each with a project that holds one row in every table. */
const [ada, bob] = await Promise.all(["ada", "bob"].map(async (name) => {
  const [user] = await sql`insert into auth.users (email) values (${`${name}@example.com`}) returning id`;
  const [member] = await sql`select project_id from public.project_members where user_id = ${user?.id}`;
  const project = member?.project_id;
  const file = crypto.randomUUID();
  const job = crypto.randomUUID();
  const attempt = crypto.randomUUID();
  await sql`select tunebase.create_api_key(${project}, 'k', '{jobs:read}', sha256(${name}::bytea), 'tb_…')`;
  await sql`insert into public.files (id, project_id, filename, purpose, bytes, sha256, status, object)
    values (${file}, ${project}, 'f', 'fine-tune', 1, ${"0".repeat(64)}, 'processed', ${file})`;
  await sql`insert into public.jobs (id, project_id, status, base_model, training_file, hyperparameters, plan, seed, created_by, due_at)
    values (${job}, ${project}, 'queued', 'SmolLM2-135M-Instruct', ${file}, '{}', '{}', 1, 'user', now())`;
  await sql`insert into public.attempts (id, job_id, project_id, number, state, endpoint_id, gpu_config, execution_timeout_seconds,
      ttl_seconds, claim_deadline, look_at)
    values (${attempt}, ${job}, ${project}, 1, 'submitting', 'e', '{}', 1, 1, now(), now())`;
  await sql`insert into public.events (job_id, project_id, number, level, type, message) values (${job}, ${project}, 1, 'info', 'message', 'm')`;
  await sql`insert into public.metrics (job_id, project_id, step, attempt, epoch) values (${job}, ${project}, 1, 1, 0)`;
  await sql`insert into public.checkpoints (job_id, project_id, attempt_id, step, files) values (${job}, ${project}, ${attempt}, 1, '[]')`;
  await sql`insert into public.adapters (job_id, project_id, attempt_id, name, base_model, manifest, prefix, bytes)
    values (${job}, ${project}, ${attempt}, ${name}, 'SmolLM2-135M-Instruct', '{}', 'p', 1)`;
  const [endpoint] = await sql`insert into public.webhook_endpoints (project_id, name, url, event_types)
    values (${project}, 'e', 'https://example.com/', '{fine_tuning.job.failed}') returning id`;
  const [delivery] = await sql`
    insert into public.webhook_deliveries (project_id, event_id, event_type, event_created_at, channel, endpoint_id, body)
    values (${project}, gen_random_uuid(), 'fine_tuning.job.failed', now(), 'webhook', ${endpoint?.id}, '{}') returning id`;
  await sql`insert into public.webhook_attempts (delivery_id, project_id, url, request_headers, duration_ms)
    values (${delivery?.id}, ${project}, 'https://example.com/', '{}', 1)`;
  const [notification] = await sql`
    insert into public.notifications (project_id, event_id, type, level, title, text)
    values (${project}, gen_random_uuid(), 'fine_tuning.job.failed', 'error', 't', 't') returning id`;
  await sql`insert into public.notification_reads (notification_id, user_id) values (${notification?.id}, ${user?.id})`;
  const [channel] = await sql`insert into public.notification_channels (project_id, kind, target, event_types)
    values (${project}, 'slack', 'hooks.slack.com/…', '{fine_tuning.job.failed}') returning id`;
  await sql`insert into tunebase.channel_secrets values (${channel?.id}, 'sealed')`;
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
  Deno.test(`a member reads their own rows of ${table} and nobody else's, without the API`, async () => {
    const column = table === "projects" ? "id" : "project_id";
    const seen = await as(
      "authenticated",
      ada?.id ?? "",
      (t) => t.unsafe(`select ${column} as project from public.${table}`),
    );
    assertEquals(seen.map(({ project }) => project), [ada?.project]);
    const nobody = await as(
      "authenticated",
      crypto.randomUUID(),
      (t) => t.unsafe(`select 1 from public.${table}`),
    );
    assertEquals(nobody.length, 0);
    await assertRejects(() => as("anon", null, (t) => t.unsafe(`select 1 from public.${table}`)));
  });
  Deno.test(`a member cannot write ${table}`, async () => {
    await assertRejects(() =>
      as("authenticated", ada?.id ?? "", (t) => t.unsafe(`delete from public.${table}`))
    );
    await assertRejects(() =>
      as("authenticated", ada?.id ?? "", (t) => t.unsafe(`update public.${table} set created_at = now()`))
    );
  });
}

Deno.test("a member sees what they have read themselves, and marks it only through the API", async () => {
  const seen = await as(
    "authenticated",
    ada?.id ?? "",
    (t) => t`select user_id from public.notification_reads`,
  );
  assertEquals(seen.map(({ user_id }) => user_id), [ada?.id]);
  await assertRejects(() =>
    as("authenticated", ada?.id ?? "", (t) => t`delete from public.notification_reads`)
  );
  await assertRejects(() => as("anon", null, (t) => t`select 1 from public.notification_reads`));
});

Deno.test("claims of an earlier transaction give nothing to the next", async () => {
  await as("authenticated", bob?.id ?? "", (t) => t`select 1`);
  const seen = await sql.begin(async (t) => {
    await t`select set_config('role', 'authenticated', true)`;
    return [...await t`select 1 from public.jobs`];
  });
  assertEquals(seen.length, 0);
});

Deno.test("users see nothing of the schema tunebase and call nothing of it", async () => {
  const reachable = await sql`
    select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'tunebase'
      and (has_function_privilege('anon', p.oid, 'execute') or has_function_privilege('authenticated', p.oid, 'execute'))`;
  assertEquals(reachable.map(({ proname }) => proname), ["my_projects"]);
  for (
    const table of ["api_key_hashes", "outbox", "channel_secrets", "failing_targets", "trigger_failures"]
  ) {
    await assertRejects(() =>
      as("authenticated", ada?.id ?? "", (t) => t.unsafe(`select * from tunebase.${table}`))
    );
  }
});

Deno.test("each function's role calls its own functions and touches no table", async () => {
  for (const role of ["tunebase_api", "tunebase_callback", "tunebase_scheduler"]) {
    const connection = postgres(database.url(role), { max: 1, onnotice: () => {} });
    for (
      const table of [
        "public.jobs",
        "public.attempts",
        "tunebase.api_key_hashes",
        "tunebase.outbox",
        "tunebase.channel_secrets",
        "public.webhook_endpoints",
        "auth.users",
      ]
    ) {
      await assertRejects(() => connection.unsafe(`select 1 from ${table}`), `${role} reads ${table}`);
    }
    const own = await connection<{ name: string }[]>`
      select p.proname as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'tunebase' and has_function_privilege(p.oid, 'execute')`;
    assert(own.length > 3);
    assertEquals(own.some(({ name }) => name === "create_job"), role === "tunebase_api");
    assertEquals(own.some(({ name }) => name === "finish"), role === "tunebase_callback");
    assertEquals(own.some(({ name }) => name === "claim_dispatch"), role === "tunebase_scheduler");
    assertEquals(own.some(({ name }) => name === "claim_deliveries"), role === "tunebase_scheduler");
    assertEquals(own.some(({ name }) => name === "create_webhook_endpoint"), role === "tunebase_api");
    for (const inner of ["owe", "fan_out_event", "disable_target", "endpoint_json", "delivery_json"]) {
      assert(!own.some(({ name }) => name === inner), `${role} calls ${inner}`);
    }
    await connection.end();
  }
});

Deno.test("every security definer function has an empty search_path, and every table row-level security", async () => {
  const open = await sql`
    select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'tunebase' and p.prosecdef and not coalesce('search_path=""' = any (p.proconfig), false)`;
  assertEquals([...open], []);
  const bare = await sql`
    select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'tunebase') and c.relkind = 'r' and not c.relrowsecurity`;
  assertEquals([...bare], []);
});

Deno.test("every foreign key has an index to find its rows by", async () => {
  const missing = await sql`
    select c.conrelid::regclass::text as "table", c.conname as name from pg_constraint c
    join pg_namespace n on n.oid = c.connamespace
    where c.contype = 'f' and n.nspname in ('public', 'tunebase')
      and not exists (
        select from pg_index i where i.indrelid = c.conrelid and (i.indkey::smallint[])[0] = c.conkey[1]
      )`;
  // Models are few and never deleted; who made a key is only shown.
  assertEquals(missing.map(({ name }) => name).sort(), [
    "adapters_base_model_fkey",
    "api_keys_created_by_fkey",
    "jobs_base_model_fkey",
  ]);
});

Deno.test("ids sort by time", async () => {
  const rows = await sql`select tunebase.uuid7() as id, pg_sleep(0.002) from generate_series(1, 5)`;
  const ids = rows.map(({ id }) => String(id));
  assertEquals(ids, [...ids].sort());
  assert(ids.every((id) => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)));
});
