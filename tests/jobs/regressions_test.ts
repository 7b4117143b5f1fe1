/**
 * Failures reported by users of similar systems that no other test covers. `docs/reliability.md` lists the test for each
 * report.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, runpod } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000`;
await sql`update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.6}'`;
const jobNow = (job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
const uuid = async (job: { id: string }) => String((await latestAttempt(tunebase, job)).job_id);
const bytes = (text: string) => new TextEncoder().encode(text);
const taken = () => Response.json({ id: `run-${runpod.requests.length}`, status: "IN_QUEUE" });

async function dispatched() {
  runpod.run = taken;
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  await sql`update tunebase.jobs set max_attempts = 1 where id = ${attempt.job_id}`;
  return { job, attempt, worker: new FakeWorker(tunebase, attempt.id) };
}
async function claimed() {
  const all = await dispatched();
  await all.worker.claim();
  return all;
}
/** Runs a tick after the attempt's lease and deadline have expired. */
async function late(id: string, status: unknown) {
  runpod.status = () => Response.json(status);
  await sql`
    update tunebase.attempts
    set reconcile_at = now(), lease_until = now() - interval '1 second', claim_deadline = now() - interval '1 second',
      submitted_at = now() - interval '2 minutes'
    where id = ${id}`;
  await tunebase.tick();
}

// @proves report-cost-nan
Deno.test("cost NaN: a base model needs a valid GPU and price", async () => {
  const [{ gpu_config } = {}] = await sql`select gpu_config from tunebase.base_models limit 1`;
  for (
    const wrong of [
      { type: "A100", count: 1 },
      { ...gpu_config, cost_per_gpu_hour: null },
      { ...gpu_config, cost_per_gpu_hour: "3.50" },
      { ...gpu_config, num_gpus: "undefined" },
    ]
  ) {
    const error = await assertRejects(() =>
      sql`update tunebase.base_models set gpu_config = ${sql.json(wrong)}`
    );
    assertStringIncludes(String(error), "base_models_gpu_config_check");
  }
});

// @proves report-progress-111
Deno.test("loss 0.0000 for ten steps: unknown metrics are null", async () => {
  const { job, worker } = await claimed();
  await worker.report({ stage: "loading_model", progress: 6, current_step: 0, metrics: [] });
  const now = await jobNow(job);
  for (const name of ["training_loss", "tokens_per_second"]) assertEquals(Reflect.get(now, name), null, name);
  await worker.report({ metrics: [FakeWorker.metric(1, 2.5)] });
  assertEquals(Reflect.get(await jobNow(job), "training_loss"), 2.5);
});

// @proves others-validating-files
Deno.test("an example mistook validating_files for finished: finished_at is null until a job ends", async () => {
  const { job, worker } = await dispatched();
  assertEquals([(await jobNow(job)).status, (await jobNow(job)).finished_at], ["queued", null]);
  await worker.claim();
  assertEquals([(await jobNow(job)).status, (await jobNow(job)).finished_at], ["running", null]);
  await worker.finishWithAdapter();
  const now = await jobNow(job);
  assertEquals(now.status, "succeeded");
  assert(Math.abs(Number(now.finished_at) - Date.now() / 1000) < 60, "Unix seconds");
});

// @proves report-skipped-large-files
Deno.test("files over 100 MB silently skipped: a file of many chunks is uploaded and verified as a whole", async () => {
  const { worker } = await claimed();
  const chunk = 6 * 2 ** 20;
  const weights = new Uint8Array(2 * chunk + 1_000_000).map((_, i) => i % 251);
  const file = FakeWorker.file("adapter_model.safetensors", weights);
  const { targets } = await worker.call("uploads", {
    worker_id: worker.id,
    fence: worker.fence,
    paths: [file.path],
  });
  const [target] = targets as { endpoint: string; object: string; token: string; chunk_bytes: number }[];
  assert(target !== undefined);
  assertEquals(target.chunk_bytes, chunk);
  const headers = { "tus-resumable": "1.0.0", "x-signature": target.token };
  const metadata = `bucketName ${btoa("tunebase-adapters")},objectName ${btoa(target.object)}`;
  const made = await fetch(target.endpoint, {
    method: "POST",
    headers: { ...headers, "upload-length": String(weights.length), "upload-metadata": metadata },
  });
  await made.body?.cancel();
  const url = new URL(made.headers.get("location") ?? "", target.endpoint);
  for (let offset = 0; offset < weights.length; offset += chunk) {
    // Before the last chunk it does not exist, so it cannot pass as complete.
    assertEquals((await worker.verify(file)).verified, false);
    const sent = await fetch(url, {
      method: "PATCH",
      headers: {
        ...headers,
        "upload-offset": String(offset),
        "content-type": "application/offset+octet-stream",
      },
      body: weights.subarray(offset, offset + chunk),
    });
    await sent.body?.cancel();
    assertEquals(sent.status, 204);
  }
  assertEquals((await worker.verify(file)).verified, true);
  assertEquals((await worker.succeed([file])).accepted, true);
});

// @proves others-empty-weights
Deno.test("empty weights: a file of zero bytes is rejected by name", async () => {
  const { job, worker } = await claimed();
  const empty = FakeWorker.file("adapter_model.safetensors", bytes(""));
  for (const send of [() => worker.verify(empty), () => worker.succeed([empty]), () => worker.succeed([])]) {
    assertStringIncludes(String(await assertRejects(send)), ": 400 ");
  }
  assertEquals((await jobNow(job)).status, "running");
});

// @proves report-upload-collision
Deno.test("upload collided on retry: each attempt writes under its own prefix", async () => {
  const { job, attempt, worker } = await claimed();
  await sql`update tunebase.jobs set max_attempts = 2 where id = ${attempt.job_id}`;
  const path = "adapter_config.json";
  await worker.upload(path, bytes("of the first"));
  await worker.verify(FakeWorker.file(path, bytes("of the first")));
  await worker.fail("disk_full");
  await sql`update tunebase.jobs set due_at = now() where id = ${attempt.job_id}`;
  await tunebase.tick();
  const second = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id, "worker-2");
  await second.claim();
  await second.upload(path, bytes("of the second"));
  const file = FakeWorker.file(path, bytes("of the second"));
  assertEquals((await second.verify(file)).verified, true);
  assertEquals((await second.succeed([file])).accepted, true);
  const bucket = tunebase.platform.supabase.storage.from("tunebase-adapters");
  const at = async (number: number) =>
    await (await bucket.download(`${attempt.project_id}/${attempt.job_id}/${number}/${path}`)).data?.text();
  assertEquals([await at(1), await at(2)], ["of the first", "of the second"]);
});

// @proves lost-webhook, others-wrong-endpoint
Deno.test("endpoint re-read from current settings: a run is queried and cancelled at its own endpoint", async () => {
  await sql`update tunebase.base_models set endpoint_id = 'first'`;
  const { job, attempt } = await dispatched();
  await sql`update tunebase.base_models set endpoint_id = 'second'`;
  const before = runpod.requests.length;
  await user.openai.fineTuning.jobs.cancel(job.id);
  await late(attempt.id, { status: "CANCELLED" });
  await sql`update tunebase.base_models set endpoint_id = null`;
  const paths = runpod.requests.slice(before).map(({ path }) => path).filter((path) =>
    path.includes(attempt.runpod_job_id)
  );
  assertEquals(paths, [
    `/runpod/v2/first/cancel/${attempt.runpod_job_id}`,
    `/runpod/v2/first/status/${attempt.runpod_job_id}`,
  ]);
  assertEquals((await latestAttempt(tunebase, job)).outcome, "cancelled");
});

// @proves others-charged-unstarted
Deno.test("charged for workers that never started: an unclaimed job costs nothing", async () => {
  const expired = await dispatched();
  await sql`update tunebase.attempts set created_at = now() - interval '5 hours' where id = ${expired.attempt.id}`;
  await late(expired.attempt.id, { status: "IN_QUEUE" });
  const lost = await dispatched();
  await late(lost.attempt.id, { status: "FAILED", error: "job timed out after 1 retries" });
  const cancelled = await dispatched();
  await user.openai.fineTuning.jobs.cancel(cancelled.job.id);
  await late(cancelled.attempt.id, { status: "CANCELLED" });
  for (const { job } of [expired, lost, cancelled]) {
    const now = await jobNow(job);
    assert(now.finished_at !== null);
    assertEquals(Reflect.get(now, "cost_usd"), 0, now.status);
  }
});

const failures: [string, (job: Awaited<ReturnType<typeof dispatched>>) => Promise<unknown>][] = [
  ["no GPU was available", ({ attempt }) => late(attempt.id, { status: "IN_QUEUE" })],
  ["the worker was lost", async ({ attempt, worker }) => {
    await worker.claim();
    await late(attempt.id, { status: "FAILED", error: "job timed out after 1 retries" });
  }],
  ["it took too long", async ({ attempt, worker }) => {
    await worker.claim();
    await late(attempt.id, { status: "TIMED_OUT", error: "executionTimeout exceeded" });
  }],
  ["the trainer reports the error", async ({ worker }) => {
    await worker.claim();
    await worker.fail("out_of_memory");
  }],
  ["its budget was spent", async ({ attempt, worker }) => {
    await worker.claim();
    await sql`update tunebase.jobs set spend_cap_usd = 0.01 where id = ${attempt.job_id}`;
    await sql`update tunebase.attempts set started_at = now() - interval '1 hour' where id = ${attempt.id}`;
    await tunebase.tick();
  }],
];
for (const [what, fail] of failures) {
  // @proves others-empty-log: failed with an empty log: when the worker was lost, the last event has the reason and a hint
  Deno.test(`failed with an empty log: when ${what}, the last event has the reason and a hint`, async () => {
    const all = await dispatched();
    await fail(all);
    const { status, error } = await jobNow(all.job);
    assertEquals(status, "failed");
    const [last] = await sql`
      select level, message from tunebase.events where job_id = ${await uuid(
      all.job,
    )} order by number desc limit 1`;
    assertEquals(last?.level, "error");
    assertStringIncludes(last?.message, `The job failed: ${error?.message}`);
    const hint = String(Reflect.get(Object(error), "hint"));
    assert(hint.length > 5, hint);
    assertStringIncludes(last?.message, hint);
  });
}
