/** What is retried, from which checkpoint, and how often. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, runpod } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000`;
await sql`update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.6}'`;
const jobNow = (job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
const messages = async (job: { id: string }) => {
  const found: string[] = [];
  for await (const event of user.openai.fineTuning.jobs.listEvents(job.id)) found.unshift(event.message);
  return found;
};

/** Dispatches what is due, and claims the job's newest attempt. */
async function claimNext(job: { id: string }, id = "worker-1") {
  await sql`update tunebase.jobs set due_at = now() where status = 'queued' and due_at < 'infinity'`;
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  const worker = new FakeWorker(tunebase, attempt.id, id);
  return { attempt, worker, claim: await worker.claim() };
}

// @proves others-spot-recovery
Deno.test("a preempted job resumes from its newest checkpoint and logs the reason", async () => {
  const job = await createJob(user);
  const { worker } = await claimNext(job);
  await worker.checkpoint(4);
  await worker.checkpoint(8);
  await worker.preempted();
  assertEquals((await jobNow(job)).status, "queued");
  assertStringIncludes(
    (await messages(job)).at(-1) ?? "",
    "Attempt 1 failed: The machine was taken away. Retrying in 5 seconds from checkpoint step 8.",
  );
  const { claim, attempt } = await claimNext(job, "worker-2");
  assertEquals((claim.resume as { step: number }).step, 8);
  assertEquals(attempt.number, 2);
});

// @proves monotonic-progress
Deno.test("a lost worker causes another attempt, and the job's cost is the sum of both", async () => {
  const job = await createJob(user);
  const { attempt } = await claimNext(job);
  await sql`
    update tunebase.attempts
    set started_at = now() - interval '10 minutes', lease_until = now() - interval '1 second', reconcile_at = now()
    where id = ${attempt.id}`;
  runpod.status = () =>
    Response.json({ status: "FAILED", error: "job timed out after 1 retries", retries: 1 });
  await tunebase.tick();
  const { worker, attempt: second } = await claimNext(job, "worker-2");
  await sql`update tunebase.attempts set started_at = now() - interval '5 minutes' where id = ${second.id}`;
  await worker.finishWithAdapter();
  const now = await jobNow(job);
  assertEquals(now.status, "succeeded");
  const cost = Number(Reflect.get(now, "cost_usd"));
  assert(Math.abs(cost - 0.9) < 0.01, `fifteen minutes at 3.60 an hour: ${cost}`);
  const [{ sum } = {}] =
    await sql`select sum(cost_usd) from tunebase.attempts where job_id = ${second.job_id}`;
  assertEquals(Number(sum), cost);
});

// @proves lost-worker
Deno.test("attempts without progress are limited; a new checkpoint resets the count", async () => {
  const job = await createJob(user);
  for (let round = 1; round <= 2; round++) {
    const { worker } = await claimNext(job, `a-${round}`);
    await worker.preempted();
    assertEquals((await jobNow(job)).status, "queued", `try ${round}`);
  }
  const { worker: progressing } = await claimNext(job, "b");
  await progressing.checkpoint(2);
  await progressing.preempted();
  for (let round = 1; round <= 2; round++) {
    const { worker } = await claimNext(job, `c-${round}`);
    await worker.preempted();
  }
  const now = await jobNow(job);
  assertEquals([now.status, now.error?.code], ["failed", "preempted"]);
});

Deno.test("a checkpoint with missing files is skipped and logged", async () => {
  const job = await createJob(user);
  const { worker } = await claimNext(job);
  await worker.checkpoint(2);
  const ghost = FakeWorker.file("checkpoints/6/optimizer.pt", new TextEncoder().encode("never sent"));
  await worker.report({
    checkpoints: [{ step: 6, epoch: 1, training_loss: 1, validation_loss: null, files: [ghost] }],
  });
  assertStringIncludes(
    (await messages(job)).join(),
    "Checkpoint step 6 was discarded because its files are incomplete in Storage",
  );
  await worker.preempted();
  const { claim } = await claimNext(job, "worker-2");
  assertEquals((claim.resume as { step: number }).step, 2);
});

Deno.test("only the three newest checkpoints are kept in Storage", async () => {
  const job = await createJob(user);
  const { worker, attempt } = await claimNext(job);
  for (const step of [1, 2, 3, 4, 5]) await worker.checkpoint(step);
  const kept =
    await sql`select step from tunebase.checkpoints where job_id = ${attempt.job_id} order by step`;
  assertEquals(kept.map(({ step }) => step), [3, 4, 5]);
  await tunebase.tick();
  const names = await sql<{ name: string }[]>`
    select name from storage.objects where name like ${`%${attempt.job_id}%checkpoints%`} order by name`;
  assertEquals(names.map(({ name }) => name.split("/").at(-2)), ["3", "4", "5"]);
});

Deno.test("a checkpoint reported twice is stored and logged once", async () => {
  const job = await createJob(user);
  const { worker } = await claimNext(job);
  await worker.checkpoint(2);
  await worker.checkpoint(2);
  assertEquals((await messages(job)).filter((line) => line === "Saved checkpoint step 2.").length, 1);
});

// @proves one-live-attempt
Deno.test("a worker that takes over after an expired lease resumes from the checkpoint", async () => {
  const job = await createJob(user);
  const { worker, attempt } = await claimNext(job);
  await worker.checkpoint(7);
  await sql`update tunebase.attempts set lease_until = now() - interval '1 second' where id = ${attempt.id}`;
  const second = new FakeWorker(tunebase, attempt.id, "worker-2");
  const claim = await second.claim();
  assertEquals([claim.fence, (claim.resume as { step: number }).step], [2, 7]);
});

Deno.test("a retry keeps the job's progress and tokens", async () => {
  const job = await createJob(user);
  const { worker } = await claimNext(job);
  await worker.report({ progress: 60, trained_tokens: 5000 });
  await worker.preempted();
  const { worker: second } = await claimNext(job, "worker-2");
  await second.report({ progress: 12, trained_tokens: 100 });
  const now = await jobNow(job);
  assertEquals([Reflect.get(now, "progress"), now.trained_tokens], [60, 5000]);
});
