/** Quotas report the limit and usage; usage is grouped by day. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { createJob, rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;

const upload = (user: TestUser) =>
  user.openai.files.create({ file: new File([rows], "rows.jsonl"), purpose: "fine-tune" });
const usage = async (user: TestUser, query = "") => {
  const response = await user.fetch(`/usage${query}`);
  return { status: response.status, body: await response.json() };
};

Deno.test("a project at its job quota cannot create a job until one ends", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.projects set max_jobs = 2 where id = ${user.projectId}`;
  const first = await createJob(user);
  await createJob(user);
  const refused = await assertRejects(() => createJob(user), OpenAI.PermissionDeniedError);
  assertEquals(refused.code, "quota_exceeded");
  assertStringIncludes(refused.message, "The limit is 2 unfinished jobs; 2 are in use");
  await user.openai.fineTuning.jobs.cancel(first.id);
  await createJob(user);
});

Deno.test("concurrent creates cannot exceed the quota", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.projects set max_jobs = 3 where id = ${user.projectId}`;
  const made = await Promise.allSettled(Array.from({ length: 10 }, () => createJob(user)));
  assertEquals(made.filter(({ status }) => status === "fulfilled").length, 3);
});

Deno.test("a project at its storage quota rejects files and stores no bytes until there is space", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.projects set max_storage_bytes = ${rows.length + 5} where id = ${user.projectId}`;
  const file = await upload(user);
  const objects = async () => Number((await sql`select count(*) from storage.objects`)[0]?.count);
  const before = await objects();
  const other = new File([rows.replace("hi", "ho")], "other.jsonl");
  const refused = await assertRejects(
    () => user.openai.files.create({ purpose: "fine-tune", file: other }),
    OpenAI.PermissionDeniedError,
  );
  assertEquals(refused.code, "quota_exceeded");
  assertStringIncludes(
    refused.message,
    `The limit is ${rows.length + 5} bytes of storage; ${rows.length} are in use`,
  );
  await sql`update tunebase_internal.orphaned_objects set next_at = now()`;
  await tunebase.tick();
  assertEquals(await objects(), before, "its bytes are swept");
  const large = {
    bytes: 6,
    filename: "l.jsonl",
    mime_type: "application/jsonl",
    purpose: "fine-tune" as const,
  };
  const early = await assertRejects(() => user.openai.uploads.create(large), OpenAI.PermissionDeniedError);
  assertEquals(early.code, "quota_exceeded", "before its bytes arrive");
  await user.openai.uploads.create({ ...large, bytes: 5 });
  await user.openai.files.delete(file.id);
  await upload(user);
});

Deno.test("limits are returned with their usage", async () => {
  const user = await tunebase.user();
  await createJob(user);
  const { project } = await (await user.fetch("/me")).json();
  assertEquals(project.use, { running: 0, jobs: 1, storage_bytes: rows.length, spent_usd: 0 });
  assertEquals(
    Object.keys(project.limits).sort(),
    [...Object.keys(project.use), "requests_per_minute"].sort(),
  );
});

/** Inserts a finished job with one attempt. */
async function past(
  user: TestUser,
  created: string,
  started: string,
  ended: string,
  status: string,
  cost: number,
) {
  const [file] =
    await sql`insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, object)
    values (gen_random_uuid(), ${user.projectId}, 'f', 'fine-tune', 1, ${
      "0".repeat(64)
    }, 'processed', gen_random_uuid())
    returning id`;
  const [job] =
    await sql`insert into tunebase.jobs (id, project_id, status, base_model, training_file, hyperparameters, plan, seed,
      created_by, created_at, finished_at, error_code, fine_tuned_model, trained_tokens)
    values (overlay(tunebase_internal.uuid7_lower_bound(${created})::text placing substring(gen_random_uuid()::text from 20) from 20)::uuid,
      ${user.projectId}, ${status}, 'SmolLM2-135M-Instruct', ${file?.id}, '{}', '{}', 1, 'user', ${created}, ${ended},
      ${status === "failed" ? "x" : null}, ${status === "succeeded" ? crypto.randomUUID() : null}, 1000)
    returning id`;
  await sql`insert into tunebase.attempts (job_id, project_id, number, state, outcome, endpoint_id, gpu_config,
      execution_timeout_seconds, ttl_seconds, claim_deadline, started_at, ended_at, cost_usd)
    values (${job?.id}, ${user.projectId}, 1, 'ended', 'succeeded', 'e', '{"num_gpus": 2}', 1, 1, ${started}, ${started}, ${ended}, ${cost})`;
}

Deno.test("usage is grouped by day, and sums match the rows", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  await past(user, "2026-03-01T22:30Z", "2026-03-01T23:30Z", "2026-03-02T00:30Z", "succeeded", 1.25);
  await past(user, "2026-03-02T10:00Z", "2026-03-02T10:00Z", "2026-03-02T10:00:30.5Z", "failed", 0.1);
  await past(other, "2026-03-02T10:00Z", "2026-03-02T10:00Z", "2026-03-02T11:00Z", "succeeded", 9);
  const { body } = await usage(user, "?from=2026-03-01&to=2026-03-03");
  const jobs = { jobs_cancelled: 0, jobs_created: 0, jobs_failed: 0, jobs_succeeded: 0, trained_tokens: 0 };
  const inference = { inference_requests: 0, prompt_tokens: 0, completion_tokens: 0, inference_cost_usd: 0 };
  const plain = { ...jobs, ...inference };
  assertEquals(body.data, [
    { ...plain, date: "2026-03-01", jobs_created: 1, gpu_seconds: 7200, cost_usd: 1.25 },
    {
      ...plain,
      date: "2026-03-02",
      jobs_created: 1,
      jobs_succeeded: 1,
      jobs_failed: 1,
      trained_tokens: 2000,
      gpu_seconds: 61,
      cost_usd: 0.1,
    },
    { ...plain, date: "2026-03-03", gpu_seconds: 0, cost_usd: 0 },
  ]);
  assertEquals([body.total.cost_usd, body.total.gpu_seconds, body.total.trained_tokens], [1.35, 7261, 2000]);
  // 23:30 UTC is the next day in Berlin.
  const berlin = (await usage(user, "?from=2026-03-01&to=2026-03-02&time_zone=Europe/Berlin")).body;
  assertEquals(
    berlin.data.map(({ jobs_created, cost_usd }: Record<string, number>) => [jobs_created, cost_usd]),
    [
      [1, 0],
      [1, 1.35],
    ],
  );
});

Deno.test("usage defaults to the last 30 days and rejects invalid ranges", async () => {
  const user = await tunebase.user();
  await createJob(user);
  const { body } = await usage(user);
  assertEquals([body.data.length, body.time_zone, body.data.at(-1).jobs_created], [30, "UTC", 1]);
  assertEquals(body.to, new Date().toISOString().slice(0, 10));
  for (
    const [query, param] of [
      ["?time_zone=Moon/Base", "time_zone"],
      ["?from=2026-01-01&to=2026-01-02&time_zone=Moon/Base", "time_zone"],
      ["?from=yesterday", "from"],
      ["?from=2026-02-30", "from"],
      ["?from=2026-01-02&to=2026-01-01", "from"],
      ["?from=2020-01-01&to=2026-01-01", "from"],
    ]
  ) {
    const refused = await usage(user, query);
    assertEquals([refused.status, refused.body.error.param], [400, param], query);
  }
});

Deno.test("daily usage is read by index, however many jobs a project has", async () => {
  const user = await tunebase.user();
  const [file] =
    await sql`insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, object)
    values (gen_random_uuid(), ${user.projectId}, 'f', 'fine-tune', 1, ${
      "0".repeat(64)
    }, 'processed', gen_random_uuid())
    returning id`;
  await sql`update tunebase.projects set max_jobs = null where id = ${user.projectId}`;
  // A job every 20 minutes for a year.
  await sql`insert into tunebase.jobs (id, project_id, status, base_model, training_file, hyperparameters, plan, seed, created_by,
      created_at, finished_at)
    select overlay(tunebase_internal.uuid7_lower_bound(t)::text placing substring(gen_random_uuid()::text from 20) from 20)::uuid,
      ${user.projectId}, 'cancelled', 'SmolLM2-135M-Instruct', ${file?.id}, '{}', '{}', 1, 'user', t, t
    from generate_series(timestamptz '2025-01-01', '2025-12-31', '20 minutes') t`;
  await sql`analyze tunebase.jobs`;
  const { body } = await usage(user, "?from=2025-06-01&to=2025-06-01");
  assertEquals([body.data[0].jobs_created, body.data[0].jobs_cancelled], [72, 72]);
  const plans = await sql.begin(async (t) => {
    const explain = async (condition: string) =>
      (await t.unsafe(
        `explain select count(*) from tunebase.jobs where project_id = '${user.projectId}' and ${condition}`,
      ))
        .map((row) => row["QUERY PLAN"]).join("\n");
    return [
      await explain(
        "id >= tunebase_internal.uuid7_lower_bound('2025-06-01') and id < tunebase_internal.uuid7_lower_bound('2025-06-02')",
      ),
      await explain("finished_at >= '2025-06-01' and finished_at < '2025-06-02'"),
    ];
  });
  assert(plans[0]?.includes("Index Cond") && plans[1]?.includes("jobs_finished"), plans.join("\n\n"));
});
