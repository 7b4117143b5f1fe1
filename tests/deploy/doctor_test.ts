/**
 * `task doctor` on a working installation, then with one fault at a time: the responsible check detects it and says what to
 * do, and the others are unaffected.
 */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { createHash } from "node:crypto";
import type * as z from "zod";
import { billTable, dayStart, judge, loadBill } from "../../deploy/doctor/bills.ts";
import { type Check, runChecks } from "../../deploy/doctor/check.ts";
import type { Installation, Release } from "../../deploy/doctor/installation.ts";
import { checkGroups, doctor } from "../../deploy/doctor/doctor.ts";
import { PlatformError } from "../../deploy/platforms/request.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { version } from "../../supabase/functions/_shared/version.ts";
import { captureOutput } from "../support/captured_output.ts";
import { createJob, latestAttempt, trainedJob } from "../support/fake_worker.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
const { sql, keys } = tunebase;
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** The platform's gateway: forwards to the functions, unless a test overrides the response. */
const gateway: { answer: (path: string) => Response | null } = { answer: () => null };
const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
  const { pathname } = new URL(request.url);
  const answer = gateway.answer(pathname);
  if (answer !== null) return answer;
  const response = await fetch(`${tunebase.url}${pathname}`, { headers: { "x-test-tick": "1" } });
  const headers = new Headers(response.headers);
  headers.set("date", new Date().toUTCString());
  return new Response(response.body, { status: response.status, headers });
});
const url = `http://127.0.0.1:${server.addr.port}`;
Deno.test.afterAll(async () => {
  await server.shutdown();
  await tunebase.close();
});

// pg_cron, pg_net and Vault are not in the embedded PostgreSQL, and roles belong to the server, which other tests use.
await sql.unsafe(`
  create table public.roles as select rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolreplication
    from pg_catalog.pg_roles where rolname like 'tunebase\\_%';
  create table public.extensions (extname text);
  insert into public.extensions values ('pg_cron'), ('pg_net'), ('supabase_vault');
  create schema cron;
  create table cron.job (jobname text, schedule text, active boolean default true);
  insert into cron.job values ('tunebase-tick', '10 seconds'), ('tunebase-spend', '30 seconds'), ('tunebase-prune', '17 * * * *');
  create schema net;
  create table net._http_response (id bigint generated always as identity, status_code integer, error_msg text);
  create schema if not exists vault;
  create table vault.decrypted_secrets (name text, decrypted_secret text);
`);
await sql`insert into vault.decrypted_secrets values
  ('tunebase_scheduler_url', ${`${url}/functions/v1/tunebase-scheduler/tick`}),
  ('tunebase_scheduler_secret', ${deriveSecret(keys.masterKey, "scheduler")})`;
await sql`update tunebase.base_models set endpoint_id = 'trainer1', inference_endpoint_id = 'serve1',
  gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.6}'`;
await tunebase.tick();

const gib = 2 ** 30;
const platform = {
  endpoints: [
    {
      id: "trainer1",
      name: "tunebase-trainer",
      image: "trainer:1",
      workers: { min: 0, max: 3 },
      networkVolumes: ["vol1"],
    },
    {
      id: "serve1",
      name: "tunebase-smol",
      image: "inference:1",
      workers: { min: 0, max: 2 },
      networkVolumes: [],
    },
    { id: "else1", name: "other-app", image: "x", workers: { min: 1, max: 1 }, networkVolumes: [] },
  ],
  workers: [] as { id: string; status: string; isStale: boolean }[],
  volumes: [{ id: "vol1", name: "tunebase", size: 100, dataCenter: "EU-RO-1" }],
  functions: ["tunebase", "tunebase-callback", "tunebase-scheduler"].map((slug) => ({
    slug,
    status: "ACTIVE",
    version: 3,
  })),
  secrets: new Map<string, string>([
    ["TUNEBASE_MASTER_KEY", sha256(keys.masterKey)],
    ["RUNPOD_API_KEY", sha256(keys.runpodKey)],
    ["TUNEBASE_MAX_FILE_BYTES", sha256(`${8 * gib}`)],
    ...["API", "CALLBACK", "SCHEDULER"].map((name) => [`TUNEBASE_${name}_DB_URL`, "x"] as const),
  ]),
  fileSizeLimit: 8 * gib,
  poolMode: "transaction",
  unhealthy: [] as string[],
  billing: [] as { serverlessId: string; startTime: string; totalAmount: number }[],
};

const installation: Installation = {
  state: {
    profile: "default",
    project: "abcdefghijklmnopqrst",
    volume: "vol1",
    trainerEndpoint: "trainer1",
    inferenceEndpoints: { "smol": "serve1" },
    functions: Object.fromEntries(platform.functions.map(({ slug }) => [slug, { version: 3 }])),
  },
  settings: { trainerImage: "trainer:1", inferenceImage: "inference:1" },
  target: { projectUrl: () => url },
  runpodKey: keys.runpodKey,
  masterKey: () => Promise.resolve(keys.masterKey),
  tickWaitMs: 0,
  supabase: {
    async query<T>(text: string, schema: z.ZodType<T>, parameters: readonly unknown[] = []): Promise<T> {
      assertEquals(parameters, []);
      return schema.parse([
        ...await sql.unsafe(
          text.replace("pg_catalog.pg_extension", "public.extensions").replace(
            "pg_catalog.pg_roles",
            "public.roles",
          ),
        ),
      ]);
    },
    unhealthy: () => Promise.resolve(platform.unhealthy),
    functions: () => Promise.resolve(platform.functions),
    secretDigests: () => Promise.resolve(platform.secrets),
    fileSizeLimit: () => Promise.resolve(platform.fileSizeLimit),
    pooler: () => Promise.resolve({ db_host: "pooler.example", db_port: 6543, pool_mode: platform.poolMode }),
  },
  runpod: {
    listEndpoints: () => Promise.resolve(platform.endpoints),
    listVolumes: () => Promise.resolve(platform.volumes),
    getWorkers: () => Promise.resolve({ workers: platform.workers }),
    billing: () => Promise.resolve(platform.billing),
  },
};
const migrations = (await sql<{ version: string }[]>`
  select version from supabase_migrations.schema_migrations order by 1`).map(({ version }) => version);
const release: Release = { version, migrations };

const check = (one: Installation = installation, other: Release = release) =>
  runChecks(checkGroups, one, other);
const problems = (checks: Check[]) => checks.filter(({ status }) => status !== "ok");

Deno.test("a working installation has no problems", async () => {
  const checks = await check();
  assertEquals(problems(checks), []);
  const ids = checks.map(({ id }) => id);
  assertEquals(ids, [...new Set(ids)]);
  assert(ids.length >= 25, `${ids.length} checks: ${ids}`);
  const shown = JSON.stringify(checks);
  for (const hidden of [keys.masterKey, keys.runpodKey, deriveSecret(keys.masterKey, "scheduler")]) {
    assert(!shown.includes(hidden));
  }
});

/** Faults: how to break something, and the checks that detect it. */
interface Fault {
  breaks: () => unknown;
  repairs: () => unknown;
  expected: [id: string, status: "warning" | "error", found: string][];
}
const replaced = <T extends object, K extends keyof T>(object: T, key: K, value: T[K]) => {
  const before = object[key];
  return {
    breaks: () => {
      object[key] = value;
    },
    repairs: () => {
      object[key] = before;
    },
  };
};
const statements = (breaks: string, repairs: string) => ({
  breaks: () => sql.unsafe(breaks),
  repairs: () => sql.unsafe(repairs),
});
const answered = (path: string, answer: () => Response) =>
  replaced(gateway, "answer", (pathname) => pathname.endsWith(path) ? answer() : null);
const [trainer, serving, other] = platform.endpoints;
assert(trainer !== undefined && serving !== undefined && other !== undefined);

const faults: Record<string, Fault> = {
  "a service is down": {
    ...replaced(platform, "unhealthy", ["auth unhealthy"]),
    expected: [["services", "error", "auth unhealthy"]],
  },
  "a role cannot log in": {
    ...statements(
      "update public.roles set rolcanlogin = false where rolname = 'tunebase_callback'",
      "update public.roles set rolcanlogin = true where rolname = 'tunebase_callback'",
    ),
    expected: [["roles", "error", "cannot log in: tunebase_callback"]],
  },
  "a role bypasses row-level security": {
    ...statements(
      "update public.roles set rolbypassrls = true where rolname = 'tunebase_api'",
      "update public.roles set rolbypassrls = false",
    ),
    expected: [["roles", "error", "too many rights: tunebase_api"]],
  },
  "an extension is missing": {
    ...statements(
      "delete from public.extensions where extname = 'pg_net'",
      "insert into public.extensions values ('pg_net')",
    ),
    expected: [["extensions", "error", "not installed: pg_net"]],
  },
  "the pooler is in session mode": {
    ...replaced(platform, "poolMode", "session"),
    expected: [["pooler", "warning", "session mode"]],
  },
  "a secret is missing": {
    breaks: () => platform.secrets.delete("RUNPOD_API_KEY"),
    repairs: () => platform.secrets.set("RUNPOD_API_KEY", sha256(keys.runpodKey)),
    expected: [["secrets", "error", "missing: RUNPOD_API_KEY"]],
  },
  "the functions have another master key": {
    breaks: () => platform.secrets.set("TUNEBASE_MASTER_KEY", sha256("other")),
    repairs: () => platform.secrets.set("TUNEBASE_MASTER_KEY", sha256(keys.masterKey)),
    expected: [["secrets", "error", "differs from the one in Vault"]],
  },
  "Storage's limit is lower than the API's": {
    ...replaced(platform, "fileSizeLimit", 50 * 2 ** 20),
    expected: [["storage-limit", "warning", "50 MiB"]],
  },
  "a bucket is public": {
    ...statements(
      "update storage.buckets set public = true where id = 'tunebase-adapters'",
      "update storage.buckets set public = false where id = 'tunebase-adapters'",
    ),
    expected: [["buckets", "error", "public: tunebase-adapters"]],
  },
  "the platform checks tokens before a function": {
    ...answered("/tunebase-callback/health", () => Response.json({}, { status: 401 })),
    expected: [["function-tunebase-callback", "error", "verify_jwt"]],
  },
  "a function is not deployed": {
    ...answered("/tunebase-scheduler/tick", () => Response.json({}, { status: 404 })),
    expected: [["function-tunebase-scheduler", "error", "not deployed"]],
  },
  "a function does not start": {
    ...answered("/tunebase-scheduler/tick", () => Response.json({}, { status: 503 })),
    expected: [["function-tunebase-scheduler", "error", "does not start"]],
  },
  "the API cannot reach its database, and the clocks differ": {
    ...answered(
      "/tunebase/health",
      () =>
        Response.json({ status: "degraded", database: "unreachable", storage: "ok" }, {
          status: 503,
          headers: { "x-tunebase-version": version, date: new Date(Date.now() - 600_000).toUTCString() },
        }),
    ),
    expected: [["health", "error", "database is unreachable"], ["clock", "warning", "ahead of"]],
  },
  "a function was deployed by something else": {
    ...replaced(platform, "functions", platform.functions.map((one) => ({ ...one, version: 4 })).slice(0, 1)),
    expected: [["deployment-tunebase", "warning", "deployment 4 is not from this profile"]],
  },
  "the project signs tokens with the legacy secret": {
    ...answered("/jwks.json", () => Response.json({ keys: [] })),
    expected: [["jwks", "error", "legacy secret"]],
  },
  "a cron job is disabled": {
    ...statements(
      "update cron.job set active = false where jobname = 'tunebase-tick'",
      "update cron.job set active = true",
    ),
    expected: [["cron", "error", "missing or disabled: tunebase-tick"]],
  },
  "Vault has the address of another project": {
    ...statements(
      "update vault.decrypted_secrets set decrypted_secret = replace(decrypted_secret, '/tick', '/tock')",
      "update vault.decrypted_secrets set decrypted_secret = replace(decrypted_secret, '/tock', '/tick')",
    ),
    expected: [["vault", "error", "tunebase_scheduler_url is wrong"]],
  },
  "ticks have stopped": {
    ...statements(
      `update tunebase_internal.scheduler_ticks set last_tick_at = now() - interval '10 minutes';
      insert into net._http_response (status_code) values (401)`,
      "update tunebase_internal.scheduler_ticks set last_tick_at = now(); delete from net._http_response",
    ),
    expected: [["ticks", "error", "finished 10 min ago; pg_net's last request got 401"]],
  },
  "RunPod set an endpoint's workers to 0": {
    ...replaced(trainer, "workers", { min: 0, max: 0 }),
    expected: [["endpoint-trainer", "error", "maximum of 0 workers"]],
  },
  "an endpoint runs another image": {
    ...replaced(serving, "image", "inference:0"),
    expected: [["endpoint-smol", "warning", "runs inference:0, not inference:1"]],
  },
  "an endpoint keeps workers running": {
    ...replaced(trainer, "workers", { min: 1, max: 3 }),
    expected: [["endpoint-trainer", "warning", "keeps 1 worker running"]],
  },
  "an endpoint is gone": {
    ...replaced(platform, "endpoints", [trainer, other]),
    expected: [["endpoint-smol", "error", "no endpoint serve1"], ["models", "error", "SmolLM2"]],
  },
  "a worker is unhealthy": {
    ...replaced(platform, "workers", [{ id: "w1", status: "UNHEALTHY", isStale: false }]),
    expected: [["workers-trainer", "error", "w1"], ["workers-smol", "error", "w1"]],
  },
  "RunPod has no capacity": {
    ...replaced(platform, "workers", [{ id: "w1", status: "THROTTLED", isStale: false }]),
    expected: [["workers-trainer", "warning", "waits for a GPU"], ["workers-smol", "warning", "waits"]],
  },
  "the volume is gone": {
    ...replaced(platform, "volumes", []),
    expected: [["volume", "error", "no network volume vol1"]],
  },
  "a model has no price": {
    ...statements(
      `update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 0}'`,
      `update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.6}'`,
    ),
    expected: [["models", "warning", "no price"]],
  },
  "there are alerts": {
    ...statements(
      "select tunebase_internal.raise_alert('run_refused', 'trainer1', '401')",
      "delete from tunebase_internal.alerts",
    ),
    expected: [["alerts", "error", "run_refused (trainer1), 1 time"]],
  },
  "a trigger failed": {
    ...statements(
      "insert into tunebase_internal.trigger_failures (trigger, type, error) values ('t', 'x', 'full')",
      "delete from tunebase_internal.trigger_failures",
    ),
    expected: [["events", "warning", "1 event was not written: full"]],
  },
};

for (const [name, { breaks, repairs, expected }] of Object.entries(faults)) {
  Deno.test(`doctor detects that ${name}`, async () => {
    await breaks();
    try {
      const found = problems(await check());
      assertEquals(found.map(({ id, status }) => [id, status]), expected.map(([id, status]) => [id, status]));
      for (const [i, [, , text]] of expected.entries()) assertStringIncludes(found[i]?.found ?? "", text);
      assert(found.every(({ fix }) => fix !== null && fix.length > 10));
    } finally {
      await repairs();
    }
    assertEquals(problems(await check()), []);
  });
}

Deno.test("doctor detects an older version and pending migrations", async () => {
  const newer = { version: "9.0.0", migrations: [...migrations, "20991231000000"] };
  const found = problems(await check(installation, newer));
  assertEquals(found.map(({ id, status }) => [id, status]), [
    ["migrations", "error"],
    ["function-tunebase", "warning"],
    ["function-tunebase-callback", "warning"],
    ["function-tunebase-scheduler", "warning"],
  ]);
  assertStringIncludes(found[0]?.found ?? "", "1 migration is pending: 20991231000000");
});

Deno.test("a key without rights fails its own checks; the others still run", async () => {
  const rejected = () => Promise.reject(new PlatformError("RunPod", 401, "Unauthorized"));
  const checks = await check({
    ...installation,
    runpod: { listEndpoints: rejected, listVolumes: rejected, getWorkers: rejected, billing: rejected },
  });
  assertEquals(problems(checks).map(({ id, status }) => [id, status]), [["runpod", "error"], [
    "bills",
    "error",
  ]]);
  assertStringIncludes(problems(checks)[0]?.fix ?? "", "RUNPOD_API_KEY");
});

Deno.test("doctor detects long queues, stuck runs and failing receivers", async () => {
  const ada = await tunebase.user();
  const [queued, stuck] = [await createJob(ada), await createJob(ada)];
  const uuid = (job: { id: string }) => job.id.replace("ftjob-", "");
  await tunebase.tick();
  await sql`update tunebase.attempts set reconcile_at = now() - interval '10 minutes'
    where replace(job_id::text, '-', '') = ${uuid(stuck)}`;
  await sql`update tunebase.jobs set queued_at = now() - interval '3 hours', status_reason = 'no free GPU'
    where replace(id::text, '-', '') = ${uuid(queued)}`;
  const endpoint = await ada.openai.webhooks.create({
    name: "CRM",
    url: `${tunebase.url}/nowhere`,
    event_types: ["fine_tuning.job.succeeded"],
  });
  await sql`insert into tunebase_internal.failing_subscribers
    select id, now() - interval '5 hours', now() from tunebase.webhook_endpoints
    where replace(id::text, '-', '') = ${endpoint.id.replace("whe_", "")}`;
  const found = problems(await check());
  assertEquals(found.map(({ id }) => id), ["queue", "runs", "receivers"]);
  assertStringIncludes(found[0]?.found ?? "", "2 jobs, the oldest for 3 h: no free GPU");
  assertStringIncludes(found[1]?.found ?? "", `${stuck.id}: it was not checked in time`);
  assertStringIncludes(found[2]?.found ?? "", "CRM of");
  assertStringIncludes(found[2]?.found ?? "", "for 5 h");
  await sql`delete from tunebase_internal.failing_subscribers`;
});

Deno.test("bills are compared per endpoint and day, and runs are divided among days", async () => {
  const ada = await tunebase.user();
  const job = await trainedJob(tunebase, ada);
  const attempt = (await latestAttempt(tunebase, job)).id;
  const midnight = dayStart(new Date());
  const at = (hours: number) => new Date(midnight.getTime() + hours * 3_600_000);
  // Three hours before midnight and one after: $12 and $4.
  await sql`update tunebase.attempts set started_at = ${at(-3)}, ended_at = ${
    at(1)
  }, cost_usd = 16, endpoint_id = 'trainer1'
    where id = ${attempt}`;
  const record = (serverlessId: string, hours: number, totalAmount: number) => ({
    serverlessId,
    startTime: at(hours).toISOString(),
    totalAmount,
  });
  platform.billing = [
    record("trainer1", -24, 13.5),
    record("trainer1", 0, 4.25),
    record("else1", 0, 99),
    record("trainer1", -24 * 30, 50),
  ];
  try {
    const bill = await loadBill(installation, at(-24), at(24));
    const training = bill.lines.filter(({ tunebaseUsd }) => tunebaseUsd >= 0.01);
    assertEquals(training.map(({ day, endpoint, runpodUsd }) => [day, endpoint, runpodUsd]), [
      [at(-24).toISOString().slice(0, 10), "trainer1", 13.5],
      [at(0).toISOString().slice(0, 10), "trainer1", 4.25],
    ]);
    assertEquals(training.map(({ tunebaseUsd }) => Math.round(tunebaseUsd * 100) / 100), [12, 4]);
    const table = billTable(bill);
    assertEquals(table.at(-1), ["total", "", "", "$17.75", "$16.00", "+$1.75, +11%"]);
    assertEquals(problems(await check()).filter(({ id }) => id === "bills"), [], "13.50 for 12 is tolerated");
    platform.billing = [record("trainer1", -24, 20)];
    const [over] = (await check()).filter(({ id }) => id === "bills");
    assertEquals(over?.status, "warning");
    assertStringIncludes(over?.found ?? "", "RunPod billed $20.00, Tunebase counted $12.00 (+$8.00, +67%)");
  } finally {
    platform.billing = [];
    await sql`update tunebase.attempts set cost_usd = 0 where id = ${attempt}`;
  }
});

Deno.test("bills that differ in either direction are reported", () => {
  const bill = (runpodUsd: number, tunebaseUsd: number, kind: "training" | "inference" = "training") =>
    judge({ lines: [{ day: "2026-11-30", endpoint: "e", kind, runpodUsd, tunebaseUsd }] }).status;
  assertEquals([bill(0, 0), bill(0.9, 0), bill(126, 100), bill(126.1, 100)], ["ok", "ok", "ok", "warning"]);
  assertEquals([bill(100, 106), bill(100, 106.1)], ["ok", "warning"]);
  assertEquals(bill(100, 1, "inference"), "ok");
});

Deno.test("doctor prints one line per check and each problem's fix, or JSON", async () => {
  const printed = async (json: boolean, one: Installation) => {
    let ok = false;
    const { out } = await captureOutput(async () => {
      ok = await doctor(one, release, { json, billDays: null });
    });
    return { ok, text: out };
  };
  try {
    platform.unhealthy = ["db coming up"];
    const people = await printed(false, installation);
    assertEquals(people.ok, false);
    assertStringIncludes(people.text, "FAIL  services: db coming up\n      See the project's page");
    assertStringIncludes(people.text, "ok    migrations: all");
    assert(/\n\d+ checks: 1 error, \d+ warnings?\n$/.test(people.text), people.text.slice(-100));
    const program = await printed(true, installation);
    const { object, ok, checks } = JSON.parse(program.text);
    assertEquals([object, ok, checks[0].status], ["doctor", false, "error"]);
  } finally {
    platform.unhealthy = [];
  }
});
