/** The emulator of Supabase's Management API, and a project that it runs. The tests build on each other, in this order. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "#assert";
import { createClient } from "@supabase/supabase-js";
import postgres from "postgres";
import * as z from "zod";
import { functionFiles, migrations, uninstallSql } from "../../deploy/sources.ts";
import { loadAccount } from "../../local/emulators/supabase/account.ts";
import { createSupabase, type Supabase } from "../../local/emulators/supabase/mod.ts";
import { join } from "../../local/paths.ts";
import { checkExchanges, hasDescription } from "./published_api.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";

const home = await Deno.makeTempDir();
const lines: string[] = [];
const start = () =>
  createSupabase({
    home,
    prefix: "/supabase",
    log: (line) => lines.push(line),
    requestsPerMinute: 10_000,
    creationMs: 100,
  });
let supabase: Supabase = await start();
const account = await loadAccount(home);
Deno.test.afterAll(async () => {
  for (const { ref } of await projects()) await call("DELETE", `/projects/${ref}`);
  await supabase.stop();
  await Deno.remove(home, { recursive: true });
});

interface Answer {
  status: number;
  body: unknown;
  headers: Headers;
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  token: string | null = account.token,
): Promise<Answer> {
  const isForm = body instanceof FormData;
  const response = await supabase.fetch(
    new Request(`http://localhost/supabase/v1${path}`, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined || isForm ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? null : isForm ? body : JSON.stringify(body),
    }),
  );
  const text = await response.text();
  const answer = {
    status: response.status,
    headers: response.headers,
    body: text === "" ? null : JSON.parse(text),
  };
  exchanges.push({
    method,
    path: `/v1${path}`,
    request: isForm ? null : body ?? null,
    status: answer.status,
    response: answer.body,
  });
  return answer;
}

/** Every request above, for the check against the published description. */
const exchanges: { method: string; path: string; request: unknown; status: number; response: unknown }[] = [];

const Message = z.object({ message: z.string() });
const message = ({ body }: Answer) => Message.parse(body).message;
const ShownProject = z.object({ ref: z.string(), name: z.string(), status: z.string() });
const projects = async () => z.array(ShownProject).parse((await call("GET", "/projects")).body);
const project = async (ref: string) => ShownProject.parse((await call("GET", `/projects/${ref}`)).body);

async function until(what: string, done: () => Promise<boolean>, seconds = 30): Promise<void> {
  for (const end = performance.now() + seconds * 1000; !await done();) {
    assert(performance.now() < end, `${what} did not happen within ${seconds} s:\n${lines.join("\n")}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const newProject = {
  name: "tunebase",
  organization_slug: account.organization.slug,
  db_pass: "a password'with\\ odd %characters",
  region_selection: { type: "smartGroup", code: "emea" },
};
let ref = "";
const query = async (sql: string, parameters: unknown[] = []) => {
  const answer = await call("POST", `/projects/${ref}/database/query`, { query: sql, parameters });
  assertEquals(answer.status, 201, `${sql}: ${JSON.stringify(answer.body)}`);
  return answer.body;
};

Deno.test("a project is created in the background and becomes healthy", async () => {
  const created = await call("POST", "/projects", newProject);
  assertEquals(created.status, 201);
  ref = ShownProject.parse(created.body).ref;
  assertMatch(ref, /^[a-z]{20}$/);
  assertEquals((await project(ref)).status, "COMING_UP");
  assertEquals((await call("POST", `/projects/${ref}/database/query`, { query: "select 1" })).status, 500);
  await until("health", async () => (await project(ref)).status === "ACTIVE_HEALTHY");
  const { body } = await call("GET", `/projects/${ref}/health?services=db&services=auth,storage`);
  assertEquals(
    z.array(z.object({ name: z.string(), status: z.string() })).parse(body),
    ["db", "auth", "storage"].map((name) => ({ name, status: "ACTIVE_HEALTHY" })),
  );
});

Deno.test("requests without permission, for missing resources or with invalid bodies are rejected", async () => {
  assertEquals((await call("GET", "/projects", undefined, null)).status, 401);
  assertEquals((await call("GET", "/projects", undefined, "sbp_0123456789")).status, 401);
  assertEquals((await call("GET", "/projects", undefined, account.strangerToken)).status, 403);
  assertEquals((await call("GET", "/projects", undefined, account.readOnlyToken)).status, 200);
  assertEquals((await call("POST", `/projects/${ref}/secrets`, [], account.readOnlyToken)).status, 403);
  assertEquals((await call("GET", `/projects/${"a".repeat(20)}`)).status, 404);
  assertEquals((await call("GET", "/projects/UPPER")).status, 400);
  assertEquals((await call("GET", "/nowhere")).status, 404);
  const unknown = await call("POST", "/projects", { ...newProject, colour: "red" });
  assertEquals(unknown.status, 400);
  assertStringIncludes(message(unknown), "colour");
  assertEquals((await call("POST", "/projects", { ...newProject, db_pass: undefined })).status, 400);
  assertEquals((await call("POST", "/projects", { ...newProject, organization_slug: "other" })).status, 403);
  assertEquals((await call("PATCH", `/projects/${ref}/config/storage`, { fileSizeLimt: 1 })).status, 400);
  assertEquals((await call("GET", `/projects/${ref}/health`)).status, 400);
});

Deno.test("queries run as an owner that is not a superuser, and errors have Postgres' text", async () => {
  assertEquals(
    await query(
      "select current_user::text as name, usesuper as super from pg_user where usename = current_user",
    ),
    [{ name: "postgres", super: false }],
  );
  assertEquals(
    await query(
      "select 1::bigint as small, 9007199254740993::bigint as large, 1.5::numeric as exact, date '2026-11-30' as day",
    ),
    [{ small: 1, large: "9007199254740993", exact: "1.5", day: "2026-11-30" }],
  );
  assertEquals(
    await query("select $1::jsonb ->> 'a' as text, $2::text[] as list, $3::int + 1 as sum", ['{"a": "b"}', [
      "c",
    ], 1]),
    [{ text: "b", list: ["c"], sum: 2 }],
  );
  assertEquals(await query("create table public.t (a int); insert into t values (1); select a from t"), [{
    a: 1,
  }]);
  const failed = await call("POST", `/projects/${ref}/database/query`, {
    query: "insert into t values (2); select 1 / 0",
  });
  assertEquals(failed.status, 400);
  assertStringIncludes(message(failed), "Failed to run sql query: ERROR:  22012: division by zero");
  assertEquals(
    await query("select count(*) from t"),
    [{ count: 1 }],
    "several statements are one transaction",
  );
  const readOnly = await call("POST", `/projects/${ref}/database/query`, {
    query: "insert into t values (3)",
    read_only: true,
  });
  assertEquals(readOnly.status, 400);
  await query("drop table t");
});

Deno.test("the migrations apply as the platform's owner, with the timer, Vault and policies", async () => {
  for (const { version, name, sql } of await migrations()) {
    const answer = await call("POST", `/projects/${ref}/database/query`, {
      query: `begin;\n${sql};\ncommit;`,
    });
    assertEquals(answer.status, 201, `${version}_${name}: ${JSON.stringify(answer.body)}`);
  }
  assertEquals(
    await query(
      "select extname from pg_extension where extname in ('pg_cron', 'pg_net', 'supabase_vault') order by 1",
    ),
    [{ extname: "pg_cron" }, { extname: "pg_net" }, { extname: "supabase_vault" }],
  );
  assertEquals(await query("select jobname, schedule, username, active from cron.job order by jobid"), [
    { jobname: "tunebase-tick", schedule: "10 seconds", username: "postgres", active: true },
    { jobname: "tunebase-spend", schedule: "30 seconds", username: "postgres", active: true },
    { jobname: "tunebase-prune", schedule: "17 * * * *", username: "postgres", active: true },
  ]);
  assertEquals(
    await query(
      "select tablename from pg_policies where policyname like 'tunebase\\_%' and schemaname <> 'tunebase' order by 1",
    ),
    [{ tablename: "buckets" }, { tablename: "messages" }, { tablename: "objects" }],
  );
});

Deno.test("Vault encrypts secrets, and updates them by id", async () => {
  const [row] = z.array(z.object({ id: z.string() })).parse(
    await query("select vault.create_secret($1, $2) as id", ["one", "tunebase_test"]),
  );
  await query("select vault.update_secret($1, $2)", [row?.id, "two"]);
  assertEquals(
    await query(
      "select decrypted_secret, secret like '%two%' as plain from vault.decrypted_secrets where name = 'tunebase_test'",
    ),
    [{ decrypted_secret: "two", plain: false }],
  );
  await query("delete from vault.secrets where name = 'tunebase_test'");
});

Deno.test("secrets are shown as digests, and the platform's own cannot be set", async () => {
  const path = `/projects/${ref}/secrets`;
  assertEquals((await call("POST", path, [{ name: "GREETING", value: "hello" }])).status, 201);
  const { body } = await call("GET", path);
  const shown = z.array(z.object({ name: z.string(), value: z.string() })).parse(body);
  assertEquals(
    shown.find(({ name }) => name === "GREETING")?.value,
    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
  );
  assert(shown.some(({ name }) => name === "SUPABASE_URL"));
  assert(!JSON.stringify(shown).includes("hello"));
  assertEquals((await call("POST", path, [{ name: "SUPABASE_URL", value: "x" }])).status, 400);
  assertEquals((await call("POST", path, [{ name: "LONG", value: "x".repeat(24_577) }])).status, 400);
  const many = Array.from({ length: 100 }, (_, index) => ({ name: `S${index}`, value: "x" }));
  assertEquals((await call("POST", path, many)).status, 400);
});

const importMap = JSON.stringify({ imports: { "#greet": "./functions/hello/greet.ts" } });
const hello = {
  "import_map.json": importMap,
  "functions/hello/index.ts": `import { greet } from "#greet";
    Deno.serve(() => Response.json({ greeting: greet(Deno.env.get("GREETING")), url: Deno.env.get("SUPABASE_URL") }));`,
  "functions/hello/greet.ts": "export const greet = (text?: string) => `${text}, world`;",
};

function deploy(
  slug: string,
  files: Record<string, string>,
  metadata: Record<string, unknown>,
): Promise<Answer> {
  const form = new FormData();
  form.append("metadata", JSON.stringify(metadata));
  for (const [name, text] of Object.entries(files)) form.append("file", new Blob([text]), name);
  return call("POST", `/projects/${ref}/functions/deploy?slug=${slug}`, form);
}
const metadata = {
  entrypoint_path: "functions/hello/index.ts",
  import_map_path: "import_map.json",
  verify_jwt: false,
};
const greeting = async () => {
  const response = await fetch(`${supabase.projectUrl(ref)}/functions/v1/hello`);
  return z.object({ greeting: z.string(), url: z.string() }).parse(await response.json());
};

Deno.test("a deployed function runs the uploaded files with the project's secrets", async () => {
  const deployed = await deploy("hello", hello, metadata);
  assertEquals(deployed.status, 201, JSON.stringify(deployed.body));
  assertEquals(await greeting(), { greeting: "hello, world", url: supabase.projectUrl(ref) });

  await call("POST", `/projects/${ref}/secrets`, [{ name: "GREETING", value: "good evening" }]);
  assertEquals((await greeting()).greeting, "good evening, world", "new secrets reach the function");

  const changed = {
    ...hello,
    "functions/hello/greet.ts": "export const greet = (text?: string) => `${text}!`;",
  };
  const again = await deploy("hello", changed, metadata);
  assertEquals(z.object({ version: z.int() }).parse(again.body).version, 2);
  assertEquals((await greeting()).greeting, "good evening!");
});

Deno.test("a function that cannot be bundled is rejected, and the deployed one is kept", async () => {
  const { "functions/hello/greet.ts": _, ...incomplete } = hello;
  for (
    const [files, changes, reason] of [
      [hello, { entrypoint_path: "functions/hello/main.ts" }, "main.ts"],
      [incomplete, {}, "greet.ts"],
      [{ ...hello, "functions/hello/index.ts": 'import "../../../../../etc/x.ts";' }, {}, "etc/x.ts"],
      [{ ...hello, "functions/hello/index.ts": 'import "nowhere";' }, {}, "nowhere"],
      [{ ...hello, "functions/hello/index.ts": "const = 1;" }, {}, "Unexpected"],
    ] as const
  ) {
    const answer = await deploy("hello", files, { ...metadata, ...changes });
    assertEquals(answer.status, 400, JSON.stringify(answer.body));
    assertStringIncludes(message(answer), reason);
  }
  assertEquals((await deploy("hello", hello, {})).status, 400);
  assertEquals((await deploy("1st", hello, metadata)).status, 400);
  assertEquals((await greeting()).greeting, "good evening!");
});

Deno.test("a function that verifies JWTs rejects all other requests", async () => {
  await deploy("closed", hello, { ...metadata, verify_jwt: true });
  const response = await fetch(`${supabase.projectUrl(ref)}/functions/v1/closed`);
  assertEquals(response.status, 401);
  await response.body?.cancel();
  assertEquals((await call("DELETE", `/projects/${ref}/functions/closed`)).status, 200);
  assertEquals((await call("GET", `/projects/${ref}/functions/closed`)).status, 404);
  const { body } = await call("GET", `/projects/${ref}/functions`);
  assertEquals(z.array(z.object({ slug: z.string() })).parse(body), [{ slug: "hello" }]);
});

async function poolerUrl(role: string, password: string, tenant = ref): Promise<string> {
  const { body } = await call("GET", `/projects/${ref}/config/database/pooler`);
  const [pooler] = z.array(z.object({ db_user: z.string(), db_host: z.string(), db_port: z.int() })).parse(
    body,
  );
  assertEquals(pooler?.db_user, `postgres.${ref}`);
  return `postgresql://${role}.${tenant}:${
    encodeURIComponent(password)
  }@${pooler?.db_host}:${pooler?.db_port}/postgres`;
}

Deno.test("roles connect through the pooler as ROLE.REF", async () => {
  await query("alter role tunebase_scheduler login password 'a-password'");
  const sql = postgres(await poolerUrl("tunebase_scheduler", "a-password"), { max: 1, prepare: false });
  const [row] = await sql`select current_user::text as name`;
  assertEquals(row, { name: "tunebase_scheduler" });
  await sql.end();
  const other = postgres(await poolerUrl("tunebase_scheduler", "a-password", "z".repeat(20)), { max: 1 });
  const error = await assertRejects(() => other`select 1`);
  assertStringIncludes(String(error), "Tenant or user not found");
  await other.end();
});

Deno.test("pg_cron and pg_net wake the deployed scheduler", async () => {
  const masterKey = btoa("m".repeat(32));
  await call("POST", `/projects/${ref}/secrets`, [
    { name: "TUNEBASE_MASTER_KEY", value: masterKey },
    { name: "TUNEBASE_SCHEDULER_DB_URL", value: await poolerUrl("tunebase_scheduler", "a-password") },
    { name: "TUNEBASE_ALLOW_LOOPBACK", value: "1" },
    { name: "RUNPOD_API_URL", value: "http://127.0.0.1:9/v2" },
  ]);
  const files = await functionFiles("tunebase-scheduler");
  const text = new TextDecoder();
  const deployed = await deploy(
    "tunebase-scheduler",
    Object.fromEntries(files.map(({ path, content }) => [path, text.decode(content)])),
    { ...metadata, entrypoint_path: "supabase/functions/tunebase-scheduler/index.ts" },
  );
  assertEquals(deployed.status, 201, JSON.stringify(deployed.body));
  const url = `${supabase.projectUrl(ref)}/functions/v1/tunebase-scheduler/tick`;
  await query("select vault.create_secret($1, 'tunebase_scheduler_url')", [url]);
  await query("select vault.create_secret($1, 'tunebase_scheduler_secret')", [
    deriveSecret(masterKey, "scheduler"),
  ]);
  await query(
    "select cron.schedule('tunebase-tick', '1 second', 'select tunebase_internal.wake_scheduler()')",
  );
  await until("a tick", async () => {
    const rows = await query("select count(*) > 0 as ticked from net._http_response where status_code = 200");
    return JSON.stringify(rows) === '[{"ticked":true}]';
  });
  assertEquals(
    await query(
      "select distinct status, return_message from cron.job_run_details where command like '%wake_scheduler%' and end_time is not null",
    ),
    [{ status: "succeeded", return_message: "1 row" }],
  );
  await query("select cron.unschedule('tunebase-tick')");
});

Deno.test("a failing cron job records its error", async () => {
  await query("select cron.schedule('broken', '1 second', 'select 1 / 0')");
  await until("the run", async () => {
    const rows = await query(
      "select status, return_message from cron.job_run_details where command = 'select 1 / 0' and end_time is not null limit 1",
    );
    return JSON.stringify(rows) === '[{"status":"failed","return_message":"ERROR:  division by zero"}]';
  });
  await query("select cron.unschedule('broken')");
  const invalid = await call("POST", `/projects/${ref}/database/query`, {
    query: "select cron.schedule('broken', '90 seconds', 'select 1')",
  });
  assertStringIncludes(message(invalid), "invalid schedule: 90 seconds");
});

async function secretKey(): Promise<string> {
  const { body } = await call("GET", `/projects/${ref}/api-keys?reveal=true`);
  const keys = z.array(z.object({ type: z.string(), api_key: z.string() })).parse(body);
  return keys.find(({ type }) => type === "secret")?.api_key ?? "";
}

Deno.test("API keys are shown in full only on request", async () => {
  const hidden = JSON.stringify((await call("GET", `/projects/${ref}/api-keys`)).body);
  const key = await secretKey();
  assertMatch(key, /^sb_secret_/);
  assert(!hidden.includes(key));
  const added = await call("POST", `/projects/${ref}/api-keys`, { type: "secret", name: "deploy" });
  assertEquals(added.status, 201);
});

Deno.test("Storage enforces the project's file size limit, and the free plan's", async () => {
  const path = `/projects/${ref}/config/storage`;
  assertEquals((await call("PATCH", path, { fileSizeLimit: 2 ** 40 })).status, 400);
  assertEquals((await call("PATCH", path, { fileSizeLimit: 8 * 2 ** 30 })).status, 402);
  assertEquals((await call("PATCH", path, { fileSizeLimit: 1000 })).status, 200);
  const client = createClient(supabase.projectUrl(ref), await secretKey(), {
    auth: { persistSession: false },
  });
  const bucket = client.storage.from("tunebase-datasets");
  const { error } = await bucket.upload("large", new Uint8Array(1001));
  assertStringIncludes(error?.message ?? "", "exceeded the maximum allowed size");
  assertEquals((await bucket.upload("small", new Uint8Array(1000))).error, null);
  assertEquals((await client.storage.emptyBucket("tunebase-datasets")).error, null);
  assertEquals((await bucket.list()).data, []);
});

Deno.test("Auth follows its settings", async () => {
  const key = await secretKey();
  const client = createClient(supabase.projectUrl(ref), key, { auth: { persistSession: false } });
  const email = "owner@example.com";
  assertEquals((await client.auth.admin.createUser({ email, email_confirm: true })).error, null);
  assertEquals(
    (await client.auth.admin.createUser({ email, email_confirm: true })).error?.code,
    "email_exists",
  );
  const path = `/projects/${ref}/config/auth`;
  await call("PATCH", path, { disable_signup: true, uri_allow_list: "https://tunebase.example/dashboard/" });
  const { error } = await client.auth.signUp({ email: "other@example.com", password: "a long password" });
  assertEquals(error?.code, "signup_disabled");
  const redirect = async (redirectTo: string) => {
    const { data } = await client.auth.admin.generateLink({
      type: "magiclink",
      email,
      options: { redirectTo },
    });
    return new URL(data.properties?.action_link ?? "").searchParams.get("redirect_to");
  };
  assertEquals(await redirect("https://tunebase.example/dashboard/"), "https://tunebase.example/dashboard/");
  assertEquals(await redirect("https://elsewhere.example/"), "http://localhost:3000/");
});

Deno.test("the Data API's settings are kept", async () => {
  const path = `/projects/${ref}/postgrest`;
  const { body } = await call("PATCH", path, { db_schema: "public, tunebase" });
  assertEquals((await call("GET", path)).body, body);
  assertEquals(z.object({ db_schema: z.string() }).parse(body).db_schema, "public, tunebase");
  assertEquals((await call("PATCH", path, { max_rows: -1 })).status, 400);
});

Deno.test("the free plan has two projects at most; names may repeat, and a project can be deleted", async () => {
  const second = ShownProject.parse((await call("POST", "/projects", newProject)).body);
  const third = await call("POST", "/projects", newProject);
  assertEquals(third.status, 400);
  assertStringIncludes(message(third), "project limit");
  // Before it is up.
  assertEquals((await call("DELETE", `/projects/${second.ref}`)).status, 200);
  assertEquals((await projects()).map((one) => one.ref), [ref]);
});

Deno.test("a new process finds the same project, with its data, functions and settings", async () => {
  const url = supabase.projectUrl(ref);
  await supabase.stop();
  supabase = await start();
  assertEquals(supabase.projectUrl(ref), url);
  assertEquals((await projects()).map(({ ref, status }) => ({ ref, status })), [{
    ref,
    status: "ACTIVE_HEALTHY",
  }]);
  assertEquals((await greeting()).greeting, "good evening!");
  assertEquals(await query("select count(*) from cron.job"), [{ count: 2 }]);
  const files = await Array.fromAsync(Deno.readDir(join(home, "projects")));
  assertEquals(files.map(({ name }) => name), [ref], "the deleted project has left nothing");
});

Deno.test("the platform's owner role can remove what the migrations created", async () => {
  await query(await uninstallSql());
  assertEquals(
    await query(
      `select (select count(*) from pg_namespace where nspname like 'tunebase%') as schemas,
        (select count(*) from pg_roles where rolname like 'tunebase%') as roles,
        (select count(*) from cron.job) as jobs, (select count(*) from vault.secrets) as secrets,
        (select count(*) from pg_policies where policyname like 'tunebase%') as policies`,
    ),
    [{ schemas: 0, roles: 0, jobs: 0, secrets: 0, policies: 0 }],
  );
});

Deno.test("too many requests get 429 with the time to wait", async () => {
  const folder = await Deno.makeTempDir();
  const limited = await createSupabase({ home: folder, prefix: "", log: () => {}, requestsPerMinute: 2 });
  const statuses: number[] = [];
  for (let count = 0; count < 3; count++) {
    const response = await limited.fetch(
      new Request("http://localhost/v1/organizations", {
        headers: { authorization: `Bearer ${limited.token}` },
      }),
    );
    statuses.push(response.status);
    assertEquals(response.headers.has("retry-after"), response.status === 429);
    await response.body?.cancel();
  }
  assertEquals(statuses, [200, 200, 429]);
  await limited.stop();
  await Deno.remove(folder, { recursive: true });
});

const description = "supabase-management.json";
Deno.test({
  name: "every exchange above matches Supabase's published description",
  ignore: !await hasDescription(description),
  async fn() {
    // The description has no body for errors, and of Auth's 200 settings the emulator has those that it follows.
    const described = exchanges.filter(({ status, path }) => status < 300 && !path.endsWith("/config/auth"));
    assert(described.length > 50, `only ${described.length} exchanges are checked`);
    assertEquals(await checkExchanges(description, described), []);
  },
});
