/** Pausing and resuming, wherever a job is. */
import { assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { startTunebase } from "../support/test_server.ts";
import { attemptOf, createJob, TestWorker } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, runpod } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000`;
const jobs = user.openai.fineTuning.jobs;
const status = async (job: { id: string }): Promise<string> => (await jobs.retrieve(job.id)).status;
/** `paused` is a status that OpenAI's type does not have. */
const shown = (job: OpenAI.FineTuning.FineTuningJob): string => job.status;
const says = (body: unknown) => () => Response.json(body);

async function submitted() {
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await attemptOf(tunebase, job);
  return { job, attempt, worker: new TestWorker(tunebase, attempt.id) };
}
async function running() {
  const all = await submitted();
  await all.worker.claim();
  return all;
}
/** The worker of the job's newest attempt, claimed. */
async function nextWorker(job: { id: string }) {
  await tunebase.tick();
  const worker = new TestWorker(tunebase, (await attemptOf(tunebase, job)).id, "worker-next");
  return { worker, claim: await worker.claim() };
}

Deno.test("a queued job pauses at once, is not dispatched, and goes on when it is resumed", async () => {
  const job = await createJob(user);
  assertEquals(shown(await jobs.pause(job.id)), "paused");
  await tunebase.tick();
  assertEquals((await sql`select 1 from tunebase.attempts`).length, 0);
  assertEquals(shown(await jobs.pause(job.id)), "paused", "asked again, it changes nothing");
  assertEquals((await jobs.resume(job.id)).status, "queued");
  await tunebase.tick();
  assertEquals((await attemptOf(tunebase, job)).state, "submitted");
});

Deno.test("a running job is ordered to pause, saves a checkpoint, and another worker goes on from it", async () => {
  const { job, worker } = await running();
  await worker.checkpoint(5);
  assertEquals((await jobs.pause(job.id)).status, "running");
  assertEquals((await worker.checkpoint(9)).order, "pause");
  assertEquals((await worker.paused()).accepted, true);
  assertEquals(await status(job), "paused");
  assertEquals((await attemptOf(tunebase, job)).outcome, "paused");

  await jobs.resume(job.id);
  const { worker: next, claim } = await nextWorker(job);
  const resume = claim.resume as { step: number; files: { path: string; url: string }[] };
  assertEquals([resume.step, resume.files.map(({ path }) => path)], [9, [
    "checkpoints/9/trainer_state.json",
  ]]);
  assertEquals(await (await fetch(resume.files[0]?.url ?? "")).text(), "state after step 9");
  await next.finishWhole();
  assertEquals(await status(job), "succeeded");
});

Deno.test("a job that was paused before a worker had it cancels the run, and no worker gets it", async () => {
  const { job, attempt, worker } = await submitted();
  assertEquals(shown(await jobs.pause(job.id)), "paused");
  assertEquals((await worker.claim()).reason, "ended");
  runpod.status = says({ status: "CANCELLED" });
  await tunebase.tick();
  assertEquals((await attemptOf(tunebase, job)).outcome, "cancelled");
  assertEquals(await status(job), "paused");
  assertEquals(Number((await attemptOf(tunebase, job)).cost_usd), 0);
  await jobs.resume(job.id);
  const { claim } = await nextWorker(job);
  assertEquals(claim.claimed, true);
  assertEquals((await attemptOf(tunebase, job)).number, attempt.number + 1);
});

Deno.test("resumed before the old run has ended, it waits for its end and then begins once", async () => {
  const { job, attempt } = await submitted();
  await jobs.pause(job.id);
  await jobs.resume(job.id);
  runpod.status = says({ status: "IN_QUEUE" });
  await tunebase.tick();
  assertEquals((await attemptOf(tunebase, job)).number, attempt.number, "one attempt alive");
  runpod.status = says({ status: "CANCELLED" });
  await sql`update tunebase.attempts set reconcile_at = now() where id = ${attempt.id}`;
  await tunebase.tick();
  assertEquals(await status(job), "queued", "the old run's cancel is not the job's");
  await tunebase.tick();
  assertEquals((await attemptOf(tunebase, job)).number, attempt.number + 1);
});

Deno.test("a pause that is taken back lets the worker go on", async () => {
  const { job, worker } = await running();
  await jobs.pause(job.id);
  assertEquals((await jobs.resume(job.id)).status, "running");
  assertEquals((await worker.report()).order, "continue");
});

Deno.test("a worker that had begun to pause when it was taken back is followed by the next at once", async () => {
  const { job, worker } = await running();
  await jobs.pause(job.id);
  await worker.checkpoint(3);
  await jobs.resume(job.id);
  await worker.paused();
  assertEquals(await status(job), "queued");
  const { claim } = await nextWorker(job);
  assertEquals((claim.resume as { step: number }).step, 3);
});

Deno.test("a worker that is lost while it should pause leaves the job paused, and nobody pays for another", async () => {
  const { job, attempt } = await running();
  await jobs.pause(job.id);
  runpod.status = says({ status: "FAILED", error: "job timed out after 1 retries" });
  await sql`
    update tunebase.attempts set reconcile_at = now(), lease_until = now() - interval '1 second'
    where id = ${attempt.id}`;
  await tunebase.tick();
  assertEquals(await status(job), "paused");
  await tunebase.tick();
  assertEquals((await attemptOf(tunebase, job)).number, attempt.number);
});

Deno.test("a second worker that takes over a job that should pause is refused, unpaid", async () => {
  const { job, attempt } = await running();
  await jobs.pause(job.id);
  await sql`update tunebase.attempts set lease_until = now() - interval '1 second' where id = ${attempt.id}`;
  const second = new TestWorker(tunebase, attempt.id, "worker-2");
  assertEquals((await second.claim()).reason, "ended");
  assertEquals(await status(job), "paused");
});

Deno.test("a job that ends before it could pause has ended", async () => {
  const { job, worker } = await running();
  await jobs.pause(job.id);
  await worker.finishWhole();
  const now = await jobs.retrieve(job.id);
  assertEquals([now.status, Reflect.get(now, "pause_requested")], ["succeeded", false]);
});

Deno.test("a paused job can be cancelled", async () => {
  const job = await createJob(user);
  await jobs.pause(job.id);
  assertEquals((await jobs.cancel(job.id)).status, "cancelled");
});

Deno.test("what cannot be paused or resumed is a 409 that says which state it is in", async () => {
  const job = await createJob(user);
  const queued = await assertRejects(() => jobs.resume(job.id), OpenAI.ConflictError);
  assertStringIncludes(queued.message, "The job is queued; only a paused job can be resumed.");
  await jobs.cancel(job.id);
  for (const move of [() => jobs.pause(job.id), () => jobs.resume(job.id)]) {
    const error = await assertRejects(move, OpenAI.ConflictError);
    assertEquals(error.code, "job_already_finished");
    assertStringIncludes(error.message, "cancelled");
  }
});

Deno.test("another project's job can neither be paused nor resumed", async () => {
  const job = await createJob(user);
  const stranger = await tunebase.user();
  await assertRejects(() => stranger.openai.fineTuning.jobs.pause(job.id), OpenAI.NotFoundError);
  await assertRejects(() => stranger.openai.fineTuning.jobs.resume(job.id), OpenAI.NotFoundError);
  assertEquals(await status(job), "queued");
});
