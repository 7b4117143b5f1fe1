/** Spend caps are hard limits. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, runpod } = tunebase;
await sql`update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 60, "num_gpus": 1}'`;
const jobNow = (user: TestUser, job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
const warnings = async (user: TestUser, job: { id: string }) => {
  const found: string[] = [];
  for await (const event of user.openai.fineTuning.jobs.listEvents(job.id)) {
    if (event.level === "warn") found.unshift(event.message);
  }
  return found;
};

/** A running job of this user that costs a dollar per minute; `minutes` advances its clock. */
async function running(user: TestUser, cap?: number) {
  const job = await createJob(user, cap === undefined ? {} : { spend_cap_usd: cap });
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  const worker = new FakeWorker(tunebase, attempt.id);
  await worker.claim();
  const minutes = (n: number) =>
    sql`update tunebase.attempts set started_at = started_at - ${n} * interval '1 minute' where id = ${attempt.id}`;
  return { job, attempt, worker, minutes };
}

// @proves spend-cap, others-budget
Deno.test("a job warns once at 80 % of its cap and fails at 100 %, without help from the trainer", async () => {
  const user = await tunebase.user();
  const { job, attempt, worker, minutes } = await running(user, 10);
  await minutes(8.5);
  await tunebase.tick();
  await tunebase.tick();
  assertEquals((await jobNow(user, job)).status, "running");
  assertEquals(await warnings(user, job), ["The job has cost 8.50 USD, 80% of its spend cap of 10.00 USD."]);

  await minutes(2);
  await tunebase.tick();
  const now = await jobNow(user, job);
  assertEquals([now.status, now.error?.code], ["failed", "spend_cap"]);
  assertStringIncludes(now.error?.message ?? "", "spend cap of 10.00 USD");
  assert(runpod.cancels.some(({ path }) => path.endsWith(attempt.runpod_job_id)), "cancelled at RunPod");
  assertEquals((await worker.report()).directive, "cancel", "and so is the worker");
});

// @proves spend-cap
Deno.test("the database alone can enforce caps", async () => {
  const user = await tunebase.user();
  const { job, minutes } = await running(user, 1);
  await minutes(2);
  await sql`select tunebase_internal.enforce_spend()`;
  assertEquals((await jobNow(user, job)).error?.code, "spend_cap");
});

Deno.test("a project's cap fails its running and queued jobs only", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  await sql`update tunebase.projects set spend_cap_usd = 20, max_running = 1 where id = ${user.projectId}`;
  const { job, attempt, minutes } = await running(user);
  // $12 per minute: the cap is of this month, and the month may have begun minutes ago.
  await sql`
    update tunebase.attempts set gpu_config = gpu_config || '{"cost_per_gpu_hour": 720}' where id = ${attempt.id}`;
  const waiting = await createJob(user);
  await sql`update tunebase.projects set spend_cap_usd = null where id = ${other.projectId}`;
  const others = await running(other);
  await others.minutes(100);
  await minutes(17 / 12);
  await tunebase.tick();
  assertStringIncludes((await warnings(user, job)).join(), "80% of its spend cap of 20.00 USD");
  await minutes(4 / 12);
  await tunebase.tick();
  for (const one of [job, waiting]) {
    assertEquals((await jobNow(user, one)).error?.code, "spend_cap");
  }
  assertEquals((await jobNow(other, others.job)).status, "running");
});

Deno.test("a job's maximum cost is reserved, and a job over the project's cap is rejected", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.base_models set tokens_per_second = 1000`;
  await sql`update tunebase.projects set spend_cap_usd = 12 where id = ${user.projectId}`;
  const first = await createJob(user);
  const reserved = Number(Reflect.get(await jobNow(user, first), "reserved_usd"));
  assert(reserved >= 5 && reserved < 5.1, `five minutes at a dollar: ${reserved}`);
  await createJob(user);
  const refused = await assertRejects(() => createJob(user), OpenAI.PermissionDeniedError);
  assertEquals(refused.code, "spend_cap_exceeded");
  assertStringIncludes(refused.message, "the cap is 12 USD");
  // A job with its own cap reserves no more than that.
  await createJob(user, { spend_cap_usd: 1 });
  await user.openai.fineTuning.jobs.cancel(first.id);
  await createJob(user);
  await sql`update tunebase.base_models set tokens_per_second = null`;
});

// @proves spend-cap
Deno.test("concurrent creates cannot exceed the cap", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.base_models set tokens_per_second = 1000`;
  await sql`update tunebase.projects set spend_cap_usd = 16 where id = ${user.projectId}`;
  const made = await Promise.allSettled(Array.from({ length: 8 }, () => createJob(user)));
  assertEquals(made.filter(({ status }) => status === "fulfilled").length, 3);
  await sql`update tunebase.base_models set tokens_per_second = null`;
});

Deno.test("a job at its cap is not retried after a lost worker", async () => {
  const user = await tunebase.user();
  const { job, worker, minutes } = await running(user, 3);
  await minutes(4);
  await worker.preempted();
  assertEquals((await jobNow(user, job)).error?.code, "spend_cap");
});

Deno.test("rejects an invalid cap", async () => {
  const user = await tunebase.user();
  for (const cap of [0, -1]) {
    await assertRejects(() => createJob(user, { spend_cap_usd: cap }), OpenAI.BadRequestError);
  }
});

/** The attempt's limit in minutes; a minute costs a dollar. */
const limit = async (job: { id: string }) =>
  (await latestAttempt(tunebase, job)).execution_timeout_seconds / 60;

Deno.test("an attempt's time limit fits its job's and project's caps", async () => {
  const user = await tunebase.user();
  const [{ spend_cap_usd } = {}] =
    await sql`select spend_cap_usd from tunebase.projects where id = ${user.projectId}`;
  assertEquals(Number(spend_cap_usd), 50, "every project has a cap from the start");
  const capped = await running(user, 7);
  assertEquals(await limit(capped.job), 7);
  assertStringIncludes(
    JSON.stringify(runpod.runs.at(-1)?.body),
    `"executionTimeout":${7 * 60_000}`,
    "RunPod itself ends it then",
  );
  await capped.worker.preempted();
  const [left] = await sql`select cost_usd from tunebase.jobs where id = ${capped.attempt.job_id}`;
  await sql`update tunebase.attempts set cost_usd = 3 where id = ${capped.attempt.id}`;
  await sql`update tunebase.jobs set cost_usd = 3, due_at = now() where id = ${capped.attempt.job_id}`;
  assert(Number(left?.cost_usd) < 1);
  await tunebase.tick();
  assertEquals(await limit(capped.job), 4, "what the first attempt cost is gone");

  const free = await tunebase.user();
  await sql`update tunebase.projects set spend_cap_usd = null where id = ${free.projectId}`;
  assertEquals(await limit((await running(free)).job), 1440, "no cap: the model's own limit, a day");
});

Deno.test("concurrent attempts share the project's budget and cannot exceed its cap", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.projects set spend_cap_usd = 40 where id = ${user.projectId}`;
  const jobs = await Promise.all(Array.from({ length: 4 }, () => createJob(user)));
  await tunebase.tick();
  assertEquals(await Promise.all(jobs.map(limit)), [10, 10, 10, 10]);

  const next = await createJob(user);
  await sql`update tunebase.projects set max_running = 5 where id = ${user.projectId}`;
  await tunebase.tick();
  const waits = await jobNow(user, next);
  assertEquals(waits.status, "queued", "nothing is spent yet: it waits, and is not failed");
  assertStringIncludes(
    String(Reflect.get(waits, "status_reason")),
    "running jobs may still use the remaining 40.00 USD",
  );

  // One ends after two minutes; its other eight are available to the next.
  const [first] = jobs;
  assert(first !== undefined);
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, first)).id);
  await worker.claim();
  await sql`update tunebase.attempts set started_at = started_at - interval '2 minutes' where id = ${worker.attemptId}`;
  await user.openai.fineTuning.jobs.cancel(first.id);
  await worker.cancelled();
  await sql`update tunebase.projects set max_running = 4 where id = ${user.projectId}`;
  await sql`update tunebase.jobs set due_at = now() where status = 'queued' and due_at < 'infinity' and project_id = ${user.projectId}`;
  await tunebase.tick();
  const got = await limit(next);
  assert(got > 7.9 && got <= 8, String(got));
});

Deno.test("a job without an estimate leaves budget for others unless it has its own cap", async () => {
  const user = await tunebase.user();
  const [first, second, third] = [await running(user), await running(user), await running(user, 12)];
  assertEquals(await limit(first.job), 25);
  const minutes = await limit(second.job);
  assert(minutes > 12.3 && minutes < 12.6, String(minutes));
  assert(await limit(third.job) > 11.9, "of what is left, all that it asked for");
  const events: string[] = [];
  for await (const { message } of user.openai.fineTuning.jobs.listEvents(first.job.id)) events.push(message);
  assert(
    events.includes("This attempt is limited to 25 minutes by its spend caps."),
  );
});

Deno.test("a job whose cap is too small for its GPU fails with spend_cap and is not dispatched", async () => {
  const user = await tunebase.user();
  const job = await createJob(user, { spend_cap_usd: 0.4 });
  const before = runpod.runs.length;
  await tunebase.tick();
  const now = await jobNow(user, job);
  assertEquals([now.status, now.error?.code, runpod.runs.length], ["failed", "spend_cap", before]);
  assertStringIncludes(now.error?.message ?? "", "0.40 USD left of its spend cap of 0.40 USD");

  await sql`update tunebase.projects set spend_cap_usd = 10 where id = ${user.projectId}`;
  const first = await running(user);
  await sql`update tunebase.attempts set started_at = started_at - interval '585 seconds' where id = ${first.attempt.id}`;
  const second = await createJob(user);
  await tunebase.tick();
  assertEquals((await jobNow(user, second)).error?.code, "spend_cap");
  assertEquals(
    (await jobNow(user, first.job)).status,
    "running",
    "the first has its quarter of a dollar still",
  );
});

Deno.test("a job with an estimate uses its reservation and leaves budget for others", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.base_models set tokens_per_second = 1000`;
  await sql`update tunebase.projects set spend_cap_usd = 100 where id = ${user.projectId}`;
  const [first, second] = [await running(user), await running(user)];
  await sql`update tunebase.base_models set tokens_per_second = null`;
  const reserved = Number(Reflect.get(await jobNow(user, first.job), "reserved_usd"));
  for (const { job } of [first, second]) {
    const minutes = await limit(job);
    assert(
      Math.abs(minutes - reserved - 30) < 0.1,
      `${minutes} minutes for ${reserved} USD, and half an hour`,
    );
  }
});

Deno.test("jobs that reserve the whole budget do not deadlock", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.projects set spend_cap_usd = 6, max_running = 1 where id = ${user.projectId}`;
  const jobs = [await createJob(user), await createJob(user)];
  // Both are estimated at seconds; other, paused jobs have reserved the rest.
  await sql`update tunebase.jobs set reserved_usd = 0.01 where project_id = ${user.projectId}`;
  const paused = await createJob(user);
  await sql`update tunebase.jobs set status = 'paused', due_at = null, reserved_usd = 6 where project_id = ${user.projectId}
    and replace(id::text, '-', '') = ${paused.id.replace("ftjob-", "")}`;
  await tunebase.tick();
  assertEquals(await limit(jobs[0] ?? paused), 5);
});
