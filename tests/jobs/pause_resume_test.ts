/** Pausing and resuming a job in any state. */
import { assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

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
  const attempt = await latestAttempt(tunebase, job);
  return { job, attempt, worker: new FakeWorker(tunebase, attempt.id) };
}
async function running() {
  const all = await submitted();
  await all.worker.claim();
  return all;
}
/** The worker of the job's newest attempt, claimed. */
async function nextWorker(job: { id: string }) {
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id, "worker-next");
  return { worker, claim: await worker.claim() };
}

Deno.test("a queued job pauses immediately, is not dispatched, and continues after resume", async () => {
  const job = await createJob(user);
  assertEquals(shown(await jobs.pause(job.id)), "paused");
  await tunebase.tick();
  assertEquals((await sql`select 1 from tunebase.attempts`).length, 0);
  assertEquals(shown(await jobs.pause(job.id)), "paused", "asked again, it changes nothing");
  assertEquals((await jobs.resume(job.id)).status, "queued");
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).state, "submitted");
});

Deno.test("a running job pauses with a checkpoint, and another worker resumes from it", async () => {
  const { job, worker } = await running();
  await worker.checkpoint(5);
  assertEquals((await jobs.pause(job.id)).status, "running");
  assertEquals((await worker.checkpoint(9)).directive, "pause");
  assertEquals((await worker.paused()).accepted, true);
  assertEquals(await status(job), "paused");
  assertEquals((await latestAttempt(tunebase, job)).outcome, "paused");

  await jobs.resume(job.id);
  const { worker: next, claim } = await nextWorker(job);
  const resume = claim.resume as { step: number; files: { path: string; url: string }[] };
  assertEquals([resume.step, resume.files.map(({ path }) => path)], [9, [
    "checkpoints/9/trainer_state.json",
  ]]);
  assertEquals(await (await fetch(resume.files[0]?.url ?? "")).text(), "state after step 9");
  await next.finishWithAdapter();
  assertEquals(await status(job), "succeeded");
});

Deno.test("pausing an unclaimed job cancels its run, and no worker can claim it", async () => {
  const { job, attempt, worker } = await submitted();
  assertEquals(shown(await jobs.pause(job.id)), "paused");
  assertEquals((await worker.claim()).reason, "ended");
  runpod.status = says({ status: "CANCELLED" });
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).outcome, "cancelled");
  assertEquals(await status(job), "paused");
  assertEquals(Number((await latestAttempt(tunebase, job)).cost_usd), 0);
  await jobs.resume(job.id);
  const { claim } = await nextWorker(job);
  assertEquals(claim.claimed, true);
  assertEquals((await latestAttempt(tunebase, job)).number, attempt.number + 1);
});

// @proves one-live-attempt
Deno.test("a job resumed before its old run ends waits for it and starts once", async () => {
  const { job, attempt } = await submitted();
  await jobs.pause(job.id);
  await jobs.resume(job.id);
  runpod.status = says({ status: "IN_QUEUE" });
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).number, attempt.number, "one attempt alive");
  runpod.status = says({ status: "CANCELLED" });
  await sql`update tunebase.attempts set reconcile_at = now() where id = ${attempt.id}`;
  await tunebase.tick();
  assertEquals(await status(job), "queued", "the old run's cancel is not the job's");
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).number, attempt.number + 1);
});

Deno.test("withdrawing a pause request lets the worker continue", async () => {
  const { job, worker } = await running();
  await jobs.pause(job.id);
  assertEquals((await jobs.resume(job.id)).status, "running");
  assertEquals((await worker.report()).directive, "continue");
});

Deno.test("a worker that paused despite the withdrawal is replaced immediately", async () => {
  const { job, worker } = await running();
  await jobs.pause(job.id);
  await worker.checkpoint(3);
  await jobs.resume(job.id);
  await worker.paused();
  assertEquals(await status(job), "queued");
  const { claim } = await nextWorker(job);
  assertEquals((claim.resume as { step: number }).step, 3);
});

Deno.test("losing a worker during a pause leaves the job paused without another run", async () => {
  const { job, attempt } = await running();
  await jobs.pause(job.id);
  runpod.status = says({ status: "FAILED", error: "job timed out after 1 retries" });
  await sql`
    update tunebase.attempts set reconcile_at = now(), lease_until = now() - interval '1 second'
    where id = ${attempt.id}`;
  await tunebase.tick();
  assertEquals(await status(job), "paused");
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).number, attempt.number);
});

Deno.test("a second worker cannot claim a pausing job", async () => {
  const { job, attempt } = await running();
  await jobs.pause(job.id);
  await sql`update tunebase.attempts set lease_until = now() - interval '1 second' where id = ${attempt.id}`;
  const second = new FakeWorker(tunebase, attempt.id, "worker-2");
  assertEquals((await second.claim()).reason, "ended");
  assertEquals(await status(job), "paused");
});

// @proves terminal-is-final
Deno.test("a job that ends before it could pause stays ended", async () => {
  const { job, worker } = await running();
  await jobs.pause(job.id);
  await worker.finishWithAdapter();
  const now = await jobs.retrieve(job.id);
  assertEquals([now.status, Reflect.get(now, "pause_requested")], ["succeeded", false]);
});

Deno.test("a paused job can be cancelled", async () => {
  const job = await createJob(user);
  await jobs.pause(job.id);
  assertEquals((await jobs.cancel(job.id)).status, "cancelled");
});

Deno.test("an invalid pause or resume is a 409 that names the status", async () => {
  const job = await createJob(user);
  const queued = await assertRejects(() => jobs.resume(job.id), OpenAI.ConflictError);
  assertStringIncludes(queued.message, "The job is queued. Only paused jobs can be resumed.");
  await jobs.cancel(job.id);
  for (const move of [() => jobs.pause(job.id), () => jobs.resume(job.id)]) {
    const error = await assertRejects(move, OpenAI.ConflictError);
    assertEquals(error.code, "job_already_finished");
    assertStringIncludes(error.message, "cancelled");
  }
});

Deno.test("jobs of other projects cannot be paused or resumed", async () => {
  const job = await createJob(user);
  const stranger = await tunebase.user();
  await assertRejects(() => stranger.openai.fineTuning.jobs.pause(job.id), OpenAI.NotFoundError);
  await assertRejects(() => stranger.openai.fineTuning.jobs.resume(job.id), OpenAI.NotFoundError);
  assertEquals(await status(job), "queued");
});
