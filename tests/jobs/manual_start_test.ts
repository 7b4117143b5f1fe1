/** Jobs with auto_start false, and the queue position and reason of waiting jobs. */
import { assert, assertEquals, assertRejects } from "#assert";
import OpenAI from "openai";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { copyJobs } from "../support/job_copies.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const jobNow = (user: TestUser, job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
/** Fields that OpenAI's type does not have. */
const more = (job: object, name: string): unknown => Reflect.get(job, name);
const start = async (user: TestUser, job: { id: string }) => {
  const response = await user.fetch(`/fine_tuning/jobs/${job.id}/start`, { method: "POST" });
  return { status: response.status, body: await response.json() };
};

Deno.test("a job with auto_start false is validated and priced, and waits for start", async () => {
  const user = await tunebase.user();
  const job = await createJob(user, { auto_start: false });
  assertEquals(job.status as string, "paused");
  assertEquals([more(job, "auto_start"), more(job, "queue"), more(job, "status_reason")], [
    false,
    null,
    "it is waiting to be started",
  ]);
  assert(more(job, "estimate"));
  assertEquals((await tunebase.tick()).dispatched, 0);
  const nudges = tunebase.nudges;
  const started = await start(user, job);
  assertEquals([started.status, started.body.status], [200, "queued"]);
  assertEquals(tunebase.nudges, nudges + 1);
  assertEquals((await start(user, job)).body.status, "queued", "again, it changes nothing");
  assertEquals((await tunebase.tick()).dispatched, 1);
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  assertEquals((await start(user, job)).body.status, "running");
  const messages: string[] = [];
  for await (const event of user.openai.fineTuning.jobs.listEvents(job.id)) messages.unshift(event.message);
  assertEquals(messages, [
    "Created fine-tuning job.",
    "Files are valid; the job is waiting to be started.",
    "The job was started; it is queued for a GPU.",
    "Fine-tuning job started.",
  ]);
});

Deno.test("SDKs without start can use resume, and the job can be cancelled", async () => {
  const user = await tunebase.user();
  const first = await createJob(user, { auto_start: false });
  assertEquals((await user.openai.fineTuning.jobs.resume(first.id)).status, "queued");
  const second = await createJob(user, { auto_start: false });
  assertEquals((await user.openai.fineTuning.jobs.cancel(second.id)).status, "cancelled");
  assertEquals((await start(user, second)).status, 409);
});

Deno.test("start rejects a job paused after it ran, and jobs of other projects", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  const job = await createJob(user);
  await user.openai.fineTuning.jobs.pause(job.id);
  const refused = await start(user, job);
  assertEquals([refused.status, refused.body.error.code], [409, "job_already_started"]);
  assertEquals((await start(other, job)).status, 404);
});

Deno.test("the reservation of a waiting job counts toward the project's cap", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.base_models set tokens_per_second = 1000,
    gpu_config = gpu_config || '{"cost_per_gpu_hour": 60}'`;
  await sql`update tunebase.projects set spend_cap_usd = 8 where id = ${user.projectId}`;
  await createJob(user, { auto_start: false });
  const refused = await assertRejects(() => createJob(user), OpenAI.PermissionDeniedError);
  assertEquals(refused.code, "spend_cap_exceeded");
  await sql`update tunebase.base_models set tokens_per_second = null,
    gpu_config = gpu_config || '{"cost_per_gpu_hour": 0}'`;
});

// @proves others-queue-position
Deno.test("a queued job shows its position in the project and overall, and why it waits", async () => {
  await sql`delete from tunebase.jobs`;
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  await sql`update tunebase.projects set max_running = 1 where id = ${user.projectId}`;
  const jobs = [await createJob(user), await createJob(other), await createJob(user), await createJob(user)];
  const queues = async () =>
    await Promise.all(
      jobs.map(async (job, i) => more(await jobNow(i === 1 ? other : user, job), "queue")),
    );
  assertEquals(await queues(), [
    { position: 1, position_in_project: 1 },
    { position: 2, position_in_project: 1 },
    { position: 3, position_in_project: 2 },
    { position: 4, position_in_project: 3 },
  ]);
  const [first, , third] = jobs;
  assert(first && third);
  assertEquals(more(await jobNow(user, first), "status_reason"), "it is about to be sent to the GPU service");
  await tunebase.tick();
  assertEquals(
    more(await jobNow(user, first), "status_reason"),
    "the GPU service has not started it yet",
  );
  const waiting = await jobNow(user, third);
  assertEquals(more(waiting, "queue"), { position: 1, position_in_project: 1 });
  assertEquals(
    more(waiting, "status_reason"),
    "the project has reached its limit of 1 concurrent jobs",
  );
  await user.openai.fineTuning.jobs.cancel(third.id);
  assertEquals(more(await jobNow(user, third), "status_reason"), null);
});

Deno.test("in a long queue, positions stop at 101, and only the head of the queue is read", async () => {
  await sql`delete from tunebase.jobs`;
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  await createJob(user);
  await sql`update tunebase.projects set max_jobs = null where id = ${user.projectId}`;
  await copyJobs(sql, 3000, [user.projectId]);
  await createJob(other);
  const jobs = [await createJob(user), await createJob(other)] as const;
  assertEquals([more(await jobNow(user, jobs[0]), "queue"), more(await jobNow(other, jobs[1]), "queue")], [
    { position: 101, position_in_project: 101 },
    { position: 101, position_in_project: 2 },
  ]);
  // The table has no statistics: the planner must not need them.
  const read = await sql.begin(async (transaction) => {
    const entries = async () => {
      const [row] = await transaction<{ read: number }[]>`
        select sum(pg_stat_get_xact_tuples_returned(indexrelid))::integer as read from pg_index
        where indrelid = 'tunebase.jobs'::regclass and indexrelid <> 'tunebase.jobs_pkey'::regclass`;
      return row?.read ?? NaN;
    };
    const before = await entries();
    await transaction`select tunebase_internal.queue_position(j) from tunebase.jobs j
      where id = (select id from tunebase.jobs order by id desc limit 1)`;
    return await entries() - before;
  });
  assert(read >= 100 && read <= 250, `${read} index entries`);
});
