/** A spend cap is a cap. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import OpenAI from "openai";
import { startTunebase, type TestUser } from "./tunebase.ts";
import { attemptOf, createJob, TestWorker } from "./worker.ts";

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

/** A running job of this user, which costs a dollar a minute; `minutes` turns its clock on. */
async function running(user: TestUser, cap?: number) {
  const job = await createJob(user, cap === undefined ? {} : { spend_cap_usd: cap });
  await tunebase.tick();
  const attempt = await attemptOf(tunebase, job);
  const worker = new TestWorker(tunebase, attempt.id);
  await worker.claim();
  const minutes = (n: number) =>
    sql`update tunebase.attempts set started_at = started_at - ${n} * interval '1 minute' where id = ${attempt.id}`;
  return { job, attempt, worker, minutes };
}

Deno.test("a job warns once at 80 % of its cap, and is failed at 100 %, without its trainer's help", async () => {
  const user = await tunebase.user();
  const { job, attempt, worker, minutes } = await running(user, 10);
  await minutes(8.5);
  await tunebase.tick();
  await tunebase.tick();
  assertEquals((await jobNow(user, job)).status, "running");
  assertEquals(await warnings(user, job), ["The job has cost 8.50 USD, 80 % of its spend cap of 10.00 USD."]);

  await minutes(2);
  await tunebase.tick();
  const now = await jobNow(user, job);
  assertEquals([now.status, now.error?.code], ["failed", "spend_cap"]);
  assertStringIncludes(now.error?.message ?? "", "spend cap of 10.00 USD");
  assert(runpod.cancels.some(({ path }) => path.endsWith(attempt.runpod_job_id)), "RunPod is told");
  assertEquals((await worker.report()).order, "cancel", "and so is the worker");
});

Deno.test("the database alone enforces caps, as its own timer does", async () => {
  const user = await tunebase.user();
  const { job, minutes } = await running(user, 1);
  await minutes(2);
  await sql`select tunebase_internal.enforce_spend()`;
  assertEquals((await jobNow(user, job)).error?.code, "spend_cap");
});

Deno.test("a project's cap fails what runs and what waits, and nobody else's jobs", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  await sql`update tunebase.projects set spend_cap_usd = 20, max_running = 1 where id = ${user.projectId}`;
  const { job, minutes } = await running(user);
  const waiting = await createJob(user);
  const others = await running(other);
  await others.minutes(100);
  await minutes(17);
  await tunebase.tick();
  assertStringIncludes((await warnings(user, job)).join(), "80 % of its spend cap of 20.00 USD");
  await minutes(4);
  await tunebase.tick();
  for (const one of [job, waiting]) {
    assertEquals((await jobNow(user, one)).error?.code, "spend_cap");
  }
  assertEquals((await jobNow(other, others.job)).status, "running");
});

Deno.test("what a job may cost is set aside, and a job that would pass the project's cap is refused", async () => {
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
  // A job with a cap of its own sets aside no more than that.
  await createJob(user, { spend_cap_usd: 1 });
  await user.openai.fineTuning.jobs.cancel(first.id);
  await createJob(user);
  await sql`update tunebase.base_models set tokens_per_second = null`;
});

Deno.test("many creates at once cannot pass the cap together", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.base_models set tokens_per_second = 1000`;
  await sql`update tunebase.projects set spend_cap_usd = 16 where id = ${user.projectId}`;
  const made = await Promise.allSettled(Array.from({ length: 8 }, () => createJob(user)));
  assertEquals(made.filter(({ status }) => status === "fulfilled").length, 3);
  await sql`update tunebase.base_models set tokens_per_second = null`;
});

Deno.test("a lost worker of a job at its cap is not followed by another", async () => {
  const user = await tunebase.user();
  const { job, worker, minutes } = await running(user, 3);
  await minutes(4);
  await worker.preempted();
  assertEquals((await jobNow(user, job)).error?.code, "spend_cap");
});

Deno.test("a cap that is no amount is refused", async () => {
  const user = await tunebase.user();
  for (const cap of [0, -1]) {
    await assertRejects(() => createJob(user, { spend_cap_usd: cap }), OpenAI.BadRequestError);
  }
});
