import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { startTunebase } from "../support/test_server.ts";
import { createJob, evaluation, FakeWorker, latestAttempt, manifest, rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const user = await tunebase.user();
// Attempts stay open here, and each would reserve part of the project's default budget.
await tunebase.sql`update tunebase.projects set spend_cap_usd = null`;
await sql`update tunebase.projects set max_running = 1000`;
await sql`update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.6, "num_gpus": 2}'`;

/** A job that has been dispatched, and a worker for its attempt. */
async function dispatched() {
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  return { job, attempt, worker: new FakeWorker(tunebase, attempt.id) };
}
/** … and claimed. */
async function claimed() {
  const all = await dispatched();
  await all.worker.claim();
  return all;
}
const jobNow = (job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
const bytes = (text: string) => new TextEncoder().encode(text);
const messages = async (job: { id: string }) => {
  const found: string[] = [];
  for await (const event of user.openai.fineTuning.jobs.listEvents(job.id)) found.unshift(event.message);
  return found;
};

// @proves report-expired-dataset-url
Deno.test("the first claim receives a fence, a lease and a working dataset URL", async () => {
  const { job, worker } = await dispatched();
  const claim = await worker.claim();
  assertEquals([claim.claimed, claim.fence, claim.lease_seconds], [true, 1, 60]);
  assertEquals(await (await fetch(String(claim.dataset_url))).text(), rows);
  assertEquals((await jobNow(job)).status, "running");
});

// @proves no-double-run, run-twice
Deno.test("a second worker is rejected during the first's lease and takes over after it expires", async () => {
  const { attempt, worker } = await claimed();
  const second = new FakeWorker(tunebase, attempt.id, "worker-2");
  assertEquals((await second.claim()).reason, "held");
  await sql`update tunebase.attempts set lease_until = now() - interval '1 second' where id = ${attempt.id}`;
  assertEquals((await second.claim()).fence, 2);
  assertEquals(await worker.report(), { directive: "stop", lease_until: null });
  const answer = await second.report();
  assertEquals(answer.directive, "continue");
  const left = Number(answer.lease_until) - Date.now() / 1000;
  assert(left > 50 && left <= 60, `the lease is ${left} s`);
});

// @proves no-double-run
Deno.test("a late duplicate claim changes neither the holder nor an ended attempt", async () => {
  const { attempt, worker } = await dispatched();
  const deliver = async (by: FakeWorker, id: Parameters<FakeWorker["send"]>[3]) =>
    await (await by.send("claim", { worker_id: by.id, runpod_job_id: "run-x" }, undefined, id)).json();
  const ids = { first: crypto.randomUUID(), second: crypto.randomUUID(), restarted: crypto.randomUUID() };
  worker.fence = (await deliver(worker, ids.first)).fence;
  const second = new FakeWorker(tunebase, attempt.id, "worker-2");
  assertEquals((await deliver(second, ids.second)).reason, "held");
  assertEquals((await worker.report()).directive, "continue");
  assertEquals((await deliver(worker, ids.first)).fence, 1, "its own answer again, and no new fence");
  assertEquals((await worker.report()).directive, "continue");
  // The second stopped as ordered; its claim arrives again after the lease has expired.
  await sql`update tunebase.attempts set lease_until = now() - interval '1 second' where id = ${attempt.id}`;
  assertEquals((await deliver(second, ids.second)).reason, "held");
  assertEquals((await worker.report()).directive, "continue");
  assertEquals((await deliver(worker, ids.restarted)).fence, 2, "its handler restarted");
  assertEquals((await deliver(worker, ids.first)).reason, "held");
});

Deno.test("a duplicate claim does not end an attempt with a pause request", async () => {
  const { job, attempt, worker } = await dispatched();
  const id = crypto.randomUUID();
  const deliver = async () =>
    await (await worker.send("claim", { worker_id: worker.id, runpod_job_id: "run-x" }, undefined, id))
      .json();
  worker.fence = (await deliver()).fence;
  assertEquals((await worker.report()).directive, "continue");
  await user.openai.fineTuning.jobs.pause(job.id);
  assertEquals((await deliver()).fence, 1);
  assertEquals((await latestAttempt(tunebase, job)).state, "running");
  assertEquals((await worker.checkpoint(4)).directive, "pause");
  assertEquals((await worker.paused()).accepted, true);
  assertEquals([(await jobNow(job)).status, attempt.number], ["paused", 1]);
});

// @proves no-double-run
Deno.test("only one of many concurrent claims succeeds", async () => {
  const { attempt } = await dispatched();
  const claims = await Promise.all(
    Array.from({ length: 8 }, (_, i) => new FakeWorker(tunebase, attempt.id, `worker-${i}`).claim()),
  );
  assertEquals(claims.filter(({ claimed }) => claimed).length, 1);
});

Deno.test("a worker that retries a claim gets the same fence", async () => {
  const { worker } = await claimed();
  assertEquals((await worker.claim()).fence, 1);
});

// @proves gapless-events
Deno.test("reports store metrics, log lines and progress as gapless events", async () => {
  const { job, worker } = await claimed();
  await worker.report({
    metrics: [FakeWorker.metric(1, 3), FakeWorker.metric(2, 2)],
    events: [{ level: "warn", message: "cut" }],
  });
  await worker.report({ progress: 50, metrics: [FakeWorker.metric(3, 1.5)] });
  const now = await jobNow(job);
  assertEquals(Reflect.get(now, "progress"), 50);
  assertEquals(Reflect.get(now, "training_loss"), 1.5);
  const numbers: number[] = [];
  for await (const event of user.openai.fineTuning.jobs.listEvents(job.id)) {
    numbers.unshift(Number(Reflect.get(event, "number")));
  }
  assertEquals(numbers, numbers.map((_, i) => i + 1));
  const metrics =
    await sql`select step from tunebase.metrics m join tunebase.attempts a using (job_id) where a.id = ${worker.attemptId} order by step`;
  assertEquals(metrics.map(({ step }) => step), [1, 2, 3]);
  assertStringIncludes((await messages(job)).join(), "Step 2/12: training loss=2");
});

// @proves monotonic-progress, report-progress-111
Deno.test("progress and tokens never decrease, and progress stays below 100 until files are verified", async () => {
  const { job, worker } = await claimed();
  await worker.report({ progress: 100, trained_tokens: 900 });
  await worker.report({ progress: 5, trained_tokens: 10 });
  const now = await jobNow(job);
  assertEquals([Reflect.get(now, "progress"), now.trained_tokens], [99, 900]);
});

// @proves first-end-wins, late-callback
Deno.test("a duplicate report changes nothing", async () => {
  const { job, worker } = await claimed();
  await worker.report({ metrics: [FakeWorker.metric(1)], events: [{ level: "info", message: "once" }] });
  worker.sequence = 0;
  const again = await worker.report({ progress: 90, events: [{ level: "info", message: "once" }] });
  assertEquals(again.directive, "continue");
  assertEquals((await messages(job)).filter((message) => message === "once").length, 1);
  assertEquals(Reflect.get(await jobNow(job), "progress"), 20);
});

// @proves gapless-events, report-repeated-metrics
Deno.test("a step reported twice by one attempt is one metric row", async () => {
  const { worker } = await claimed();
  await worker.report({ metrics: [FakeWorker.metric(1, 5)] });
  await worker.report({ metrics: [FakeWorker.metric(1, 4)] });
  const found =
    await sql`select training_loss from tunebase.metrics m join tunebase.attempts a using (job_id) where a.id = ${worker.attemptId}`;
  assertEquals(found.map(({ training_loss }) => training_loss), [5]);
});

// @proves first-end-wins
Deno.test("a forged, unsigned or foreign callback is a 401 and changes nothing", async () => {
  const { job, attempt, worker } = await dispatched();
  const other = await dispatched();
  const body = { worker_id: "evil", runpod_job_id: null };
  for (
    const secret of ["whsec_" + btoa("0".repeat(32)), "whsec_" + btoa(other.attempt.id.replaceAll("-", ""))]
  ) {
    const response = await worker.send("claim", body, secret);
    assertEquals([response.status, (await response.json()).error.code], [401, "invalid_signature"]);
  }
  const bare = await fetch(`${tunebase.url}/functions/v1/tunebase-callback/attempts/${attempt.id}/claim`, {
    method: "POST",
    body: "{}",
  });
  await bare.body?.cancel();
  assertEquals(bare.status, 401);
  assertEquals((await jobNow(job)).status, "queued");
  // The same holds once a call has been verified, whose key is kept.
  await worker.claim();
  const report = await worker.send("report", body, "whsec_" + btoa("0".repeat(32)));
  await report.body?.cancel();
  assertEquals(report.status, 401);
});

Deno.test("a callback that violates the protocol is a 400 that names the field", async () => {
  const { worker } = await claimed();
  const error = await assertRejects(() => worker.report({ progress: 200, surprise: 1 }));
  assertStringIncludes(String(error), "progress = 200: must be at most 100");
  assertStringIncludes(String(error), "surprise");
});

// @proves succeeded-is-stored, report-adapter-not-found
Deno.test("a job succeeds once its files match the manifest's sizes and hashes", async () => {
  const { job, worker } = await claimed();
  const [config, weights] = [bytes('{"r":16}'), crypto.getRandomValues(new Uint8Array(20_000))];
  const files = [
    FakeWorker.file("adapter_config.json", config),
    FakeWorker.file("adapter_model.safetensors", weights),
  ];
  await worker.upload("adapter_config.json", config);
  await worker.upload("adapter_model.safetensors", weights);
  for (const file of files) {
    assertEquals(await worker.verify(file), { directive: "continue", verified: true, detail: null });
  }
  assertEquals(await worker.succeed(files), { accepted: true, detail: null });
  assertEquals((await worker.succeed(files)).accepted, true, "the same finish again answers the same");

  const now = await jobNow(job);
  assertEquals([now.status, Reflect.get(now, "progress"), now.trained_tokens], ["succeeded", 100, 1000]);
  assert(now.fine_tuned_model?.startsWith("ft:SmolLM2-135M-Instruct:p-"));
  const adapter = await (await user.fetch(`/fine_tuning/jobs/${job.id}/adapter`)).json();
  const downloaded = await Promise.all(
    adapter.files.map(async ({ url }: { url: string }) => await (await fetch(url)).bytes()),
  );
  assertEquals(downloaded.map((file: Uint8Array) => file.length), [config.length, weights.length]);
});

Deno.test("a succeeded job has the manifest's evaluation, and null before", async () => {
  const { job, worker } = await claimed();
  assertEquals(Reflect.get(await jobNow(job), "evaluation"), null);
  await worker.finishWithAdapter();
  assertEquals(Reflect.get(await jobNow(job), "evaluation"), evaluation);

  const older = await claimed();
  const file = FakeWorker.file("adapter_model.safetensors", bytes("weights"));
  await older.worker.upload(file.path, bytes("weights"));
  await older.worker.verify(file);
  await older.worker.succeed([file], { evaluation: undefined }); // from an older worker image
  const now = await jobNow(older.job);
  assertEquals([now.status, Reflect.get(now, "evaluation")], ["succeeded", null]);
});

Deno.test("rejects a manifest with an invalid evaluation", async () => {
  const { job, worker } = await claimed();
  const file = FakeWorker.file("adapter_model.safetensors", bytes("weights"));
  await worker.upload(file.path, bytes("weights"));
  await worker.verify(file);
  const changes = {
    "a share above 1": { tuned: { ...evaluation.tuned, exact_match: 1.5 } },
    "a negative loss": { base: { ...evaluation.base, loss: -1 } },
    "a loss beyond any model's": { base: { ...evaluation.base, loss: 1e300 } },
    "a string": { base: { ...evaluation.base, loss: "2.5" } },
    "a huge string": { rows_from: "x".repeat(100_000) },
    "samples": { samples: Array(1000).fill({ prompt: "p", base: "b", tuned: "t" }) },
    "an unknown score": { tuned: { ...evaluation.tuned, surprise: 1 } },
    "a missing model": { base: undefined },
    "no rows": { rows: 0 },
    "a fraction of a row": { rows_evaluated: 1.5 },
    "more rows than a safe integer": { rows: 1e300 },
  };
  for (const [why, change] of Object.entries(changes)) {
    const error = await assertRejects(() =>
      worker.succeed([file], { evaluation: { ...evaluation, ...change } })
    );
    assertStringIncludes(String(error), "400", why);
  }
  const finish = { ...worker.holder, outcome: "succeeded", manifest: manifest([file]) };
  for (const loss of ["NaN", "1e999", "-Infinity"]) {
    const text = JSON.stringify(finish).replace('"loss":2.5', `"loss":${loss}`);
    const response = await worker.sendText("finish", text);
    assertEquals(response.status, 400, loss);
    await response.body?.cancel();
  }
  assertEquals((await jobNow(job)).status, "running");
  assertEquals((await worker.succeed([file])).accepted, true);
});

// @proves succeeded-is-stored, report-skipped-large-files
Deno.test("a job with a missing file does not succeed, and the reply names the file", async () => {
  const { job, worker } = await claimed();
  const config = bytes("{}");
  await worker.upload("adapter_config.json", config);
  await worker.verify(FakeWorker.file("adapter_config.json", config));
  const finish = await worker.succeed([
    FakeWorker.file("adapter_config.json", config),
    FakeWorker.file("adapter_model.safetensors", bytes("x")),
  ]);
  assertEquals(finish, { accepted: false, detail: "not verified in Storage: adapter_model.safetensors" });
  assertEquals((await jobNow(job)).status, "running");
});

Deno.test("a file with a wrong size or hash is not verified and can be uploaded again", async () => {
  const { worker } = await claimed();
  await worker.upload("a.json", bytes("wrong"));
  assertEquals((await worker.verify(FakeWorker.file("a.json", bytes("right")))).verified, false);
  await worker.upload("a.json", bytes("longer"));
  const answer = await worker.verify(FakeWorker.file("a.json", bytes("right")));
  assertStringIncludes(String(answer.detail), "has 6 bytes in Storage, not 5");
  await worker.upload("a.json", bytes("right"));
  assertEquals((await worker.verify(FakeWorker.file("a.json", bytes("right")))).verified, true);
  assertEquals(
    (await worker.verify(FakeWorker.file("a.json", bytes("right")))).verified,
    true,
    "asked again",
  );
});

// @proves succeeded-is-stored
Deno.test("an upload token cannot overwrite a verified file", async () => {
  const { attempt, worker } = await claimed();
  await worker.upload("a.json", bytes("right"));
  await worker.verify(FakeWorker.file("a.json", bytes("right")));
  await worker.upload("a.json", bytes("other"));
  const path = `${attempt.project_id}/${attempt.job_id}/${attempt.number}/a.json`;
  const { data } = await tunebase.platform.supabase.storage.from("tunebase-adapters").download(path);
  assertEquals(await data?.text(), "right");
});

Deno.test("rejects a file name with path traversal", async () => {
  const { worker } = await claimed();
  for (const path of ["../a", "/a", "a/../b", ".hidden"]) {
    await assertRejects(() => worker.verify({ ...FakeWorker.file("a", bytes("x")), path }));
  }
});

// @proves report-hidden-oom
Deno.test("a failure ends the job with a code, message and hint", async () => {
  const { job, worker } = await claimed();
  assertEquals((await worker.fail("non_finite_loss")).accepted, true);
  const now = await jobNow(job);
  assertEquals(now.status, "failed");
  assertEquals(
    now.error,
    {
      code: "non_finite_loss",
      message: "it was non_finite_loss.",
      param: null,
      hint: "Do this.",
    } as typeof now.error,
  );
  assertStringIncludes(
    (await messages(job)).at(-1) ?? "",
    "The job failed: it was non_finite_loss. Do this.",
  );
});

// @proves handler-error
Deno.test("infrastructure failures are retried up to the limit; user errors are not", async () => {
  for (const [code, status] of [["upload_failed", "queued"], ["invalid_dataset", "failed"]] as const) {
    const { job, attempt, worker } = await claimed();
    await sql`update tunebase.jobs set max_attempts = 2 where id = ${attempt.job_id}`;
    await worker.fail(code);
    assertEquals((await jobNow(job)).status, status);
    if (status === "failed") continue;
    await sql`update tunebase.jobs set due_at = now() where id = ${attempt.job_id}`;
    await tunebase.tick();
    const next = await latestAttempt(tunebase, job);
    assertEquals([next.number, next.state], [2, "submitted"]);
    const again = new FakeWorker(tunebase, next.id);
    await again.claim();
    await again.fail(code);
    assertEquals((await jobNow(job)).status, "failed");
  }
});

// @proves first-end-wins
Deno.test("a cancelled job sends its worker the directive cancel and stays cancelled whatever the worker reports", async () => {
  const { job, attempt, worker } = await claimed();
  await user.openai.fineTuning.jobs.cancel(job.id);
  assertEquals((await worker.report({ progress: 70 })).directive, "cancel");
  assertEquals(Reflect.get(await jobNow(job), "progress"), 0);
  assertEquals((await worker.cancelled()).accepted, true);
  assertEquals((await latestAttempt(tunebase, job)).outcome, "cancelled");
  assertEquals((await worker.fail("internal_error")).accepted, false);
  assertEquals((await jobNow(job)).status, "cancelled");
  assertEquals((await worker.report()).directive, "stop");
  const [{ rejected_callbacks } = {}] =
    await sql`select rejected_callbacks from tunebase.attempts where id = ${attempt.id}`;
  assertEquals(rejected_callbacks, 2);
});

// @proves first-end-wins
Deno.test("a finish after the cancellation leaves the job cancelled", async () => {
  const { job, worker } = await claimed();
  await worker.upload("a.json", bytes("right"));
  await worker.verify(FakeWorker.file("a.json", bytes("right")));
  await user.openai.fineTuning.jobs.cancel(job.id);
  await worker.succeed([FakeWorker.file("a.json", bytes("right"))]);
  const now = await jobNow(job);
  assertEquals([now.status, now.fine_tuned_model], ["cancelled", null]);
});

// @proves others-charged-unstarted
Deno.test("a claim after the cancellation is rejected at no cost", async () => {
  const { job, worker } = await dispatched();
  await user.openai.fineTuning.jobs.cancel(job.id);
  assertEquals((await worker.claim()).reason, "ended");
  const attempt = await latestAttempt(tunebase, job);
  assertEquals([attempt.outcome, Number(attempt.cost_usd)], ["cancelled", 0]);
});

// @proves monotonic-progress, report-cost-while-queued
Deno.test("cost accrues from claim to finish, not while queued", async () => {
  const { job, attempt, worker } = await dispatched();
  await sql`update tunebase.attempts set created_at = now() - interval '1 hour' where id = ${attempt.id}`;
  assertEquals(Reflect.get(await jobNow(job), "cost_usd"), 0);
  await worker.claim();
  await sql`update tunebase.attempts set started_at = now() - interval '1 minute' where id = ${attempt.id}`;
  await worker.report();
  const cost = Number(Reflect.get(await jobNow(job), "cost_usd"));
  // One minute of two GPUs at 3.60 per hour.
  assert(Math.abs(cost - 0.12) < 0.005, `cost ${cost}`);
});

// @proves forged-webhook
Deno.test("RunPod's webhook needs the attempt's token and only schedules a reconcile", async () => {
  const { job, attempt } = await dispatched();
  const webhook = String(Reflect.get(tunebase.runpod.runs.at(-1)?.body ?? {}, "webhook"));
  const forged = await fetch(webhook.replace(/.$/, (end) => end === "A" ? "B" : "A"), {
    method: "POST",
    body: "{}",
  });
  await forged.body?.cancel();
  assertEquals(forged.status, 401);
  const response = await fetch(webhook, { method: "POST", body: JSON.stringify({ status: "COMPLETED" }) });
  assertEquals([response.status, await response.json()], [200, { received: true }]);
  assertEquals((await jobNow(job)).status, "queued");
  const [{ due } = {}] =
    await sql`select reconcile_at <= now() as due from tunebase.attempts where id = ${attempt.id}`;
  assertEquals(due, true);
});
