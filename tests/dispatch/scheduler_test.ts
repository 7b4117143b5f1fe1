import { assert, assertEquals, assertStringIncludes } from "#assert";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt, manifest } from "../support/fake_worker.ts";
import { RunInput } from "../../supabase/functions/_shared/protocol.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, runpod } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000`;
const jobNow = (job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
const taken = () => Response.json({ id: `run-${runpod.requests.length}`, status: "IN_QUEUE" });
const says = (body: unknown, status = 200) => () => Response.json(body, { status });

/** Reconciles the attempt, as if its lease had expired. */
const reconcile = async (job: { id: string }) => {
  const attempt = await latestAttempt(tunebase, job);
  await sql`
    update tunebase.attempts set reconcile_at = now(), lease_until = now() - interval '1 second', submitted_at = now() - interval '2 minutes'
    where id = ${attempt.id}`;
  await tunebase.tick();
};
async function running() {
  runpod.run = taken;
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  // Tests one attempt; jobs/retry_test.ts covers further attempts.
  await sql`update tunebase.jobs set max_attempts = 1 where id = ${attempt.job_id}`;
  const worker = new FakeWorker(tunebase, attempt.id);
  await worker.claim();
  return { job, worker };
}

Deno.test("only the scheduler's secret can trigger a tick", async () => {
  const job = await createJob(user);
  const url = `${tunebase.url}/functions/v1/tunebase-scheduler/tick`;
  for (const authorization of ["", "Bearer wrong", `Bearer ${user.apiKey}`]) {
    const response = await fetch(url, { method: "POST", headers: { authorization, "x-test-tick": "1" } });
    await response.body?.cancel();
    assertEquals(response.status, 401);
  }
  assertEquals(
    (await sql`select 1 from tunebase.attempts where job_id = ${job.id.replace("ftjob-", "")}`).length,
    0,
  );
  await user.openai.fineTuning.jobs.cancel(job.id);
});

// @proves no-secret-in-input, report-expired-dataset-url, others-time-limit
Deno.test("a dispatch sends exactly the contract's input, both limits and a webhook, and no signed URL", async () => {
  runpod.run = taken;
  const job = await createJob(user);
  const { dispatched } = await tunebase.tick();
  assertEquals(dispatched, 1);
  const sent = runpod.runs.at(-1);
  assertEquals(sent?.path, "/runpod/v2/local/run");
  const body = sent?.body as { input: unknown; webhook: string; policy: Record<string, number> };
  assertEquals(Object.keys(body).sort(), ["input", "policy", "webhook"]);
  const input = RunInput.parse(body.input);
  const attempt = await latestAttempt(tunebase, job);
  assertEquals([input.job_id, input.attempt], [attempt.job_id, 1]);
  assertEquals(body.policy, { executionTimeout: 86_400_000, ttl: 90_000_000 });
  assertStringIncludes(body.webhook, `/functions/v1/tunebase-callback/runpod/${attempt.id}/`);
  assertEquals(input.callback_url, `${tunebase.url}/functions/v1/tunebase-callback/attempts/${attempt.id}`);
  const opened = await fetch(input.dataset_url);
  await opened.body?.cancel();
  assertEquals(opened.status, 400, "the URL in the input opens nothing by itself");
  assertEquals([attempt.state, attempt.runpod_job_id !== null], ["submitted", true]);
});

// @proves one-live-attempt, report-dispatched-twice
Deno.test("two concurrent schedulers dispatch a job once", async () => {
  runpod.run = taken;
  const before = runpod.runs.length;
  await createJob(user);
  await Promise.all([tunebase.tick(), tunebase.tick(), tunebase.tick()]);
  assertEquals(runpod.runs.length, before + 1);
});

Deno.test("a project's concurrency limit does not affect other projects", async () => {
  runpod.run = taken;
  const small = await tunebase.user();
  await sql`update tunebase.projects set max_running = 1 where id = ${small.projectId}`;
  const [first, second] = [await createJob(small), await createJob(small)];
  const other = await createJob(user);
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, first)).state, "submitted");
  assertEquals((await latestAttempt(tunebase, other)).state, "submitted");
  assertEquals(
    (await sql`select 1 from tunebase.attempts where replace(job_id::text, '-', '') = ${second.id.slice(6)}`)
      .length,
    0,
  );
  await sql`update tunebase.jobs set status = 'cancelled', finished_at = now() where project_id = ${small.projectId}`;
});

// @proves rate-limited
Deno.test("a 429 is retried after RunPod's delay and does not count as an attempt", async () => {
  runpod.run = () => new Response("slow down", { status: 429, headers: { "retry-after": "100" } });
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  assertEquals(attempt.outcome, "not_started");
  const [row] =
    await sql`select status, failed_attempts, extract(epoch from due_at - now())::int as wait from tunebase.jobs where id = ${attempt.job_id}`;
  assertEquals([row?.status, row?.failed_attempts], ["queued", 0]);
  assert(row?.wait >= 95 && row?.wait <= 150, `waits ${row?.wait} s`);
  runpod.run = taken;
  await sql`update tunebase.jobs set due_at = now() where id = ${attempt.job_id}`;
  await tunebase.tick();
  assertEquals(
    (await latestAttempt(tunebase, job)).number,
    1,
    "the endpoint is not called before RunPod's delay is over",
  );
  await sql`update tunebase_internal.runpod_endpoints set blocked_until = now()`;
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).state, "submitted");
});

for (const status of [400, 401, 402, 403, 404]) {
  // @proves rejected-run: a 402 from /run fails the job as configuration without a retry
  Deno.test(`a ${status} from /run fails the job as configuration without a retry`, async () => {
    runpod.run = () => new Response("no", { status });
    const job = await createJob(user);
    await tunebase.tick();
    const now = await jobNow(job);
    assertEquals([now.status, now.error?.code], ["failed", "configuration"]);
    assertStringIncludes(now.error?.message ?? "", String(status));
  });
}

// @proves no-double-run, ambiguous-run
Deno.test("an ambiguous /run is never resent; the worker's claim resolves it", async () => {
  runpod.run = () => new Response("bad gateway", { status: 502 });
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  assertEquals(attempt.state, "submission_unknown");
  const before = runpod.runs.length;
  runpod.run = taken;
  await tunebase.tick();
  assertEquals(runpod.runs.length, before);
  await new FakeWorker(tunebase, attempt.id).claim();
  const after = await latestAttempt(tunebase, job);
  assertEquals([after.state, after.runpod_job_id], ["running", "run-x"]);
});

// @proves ambiguous-run, others-billed-twice
Deno.test("an ambiguous, unclaimed /run leads to another attempt at its deadline, a limited number of times", async () => {
  runpod.run = () => new Response("", { status: 500 });
  const job = await createJob(user);
  for (const number of [1, 2, 3]) {
    await sql`update tunebase.jobs set due_at = now() where status = 'queued' and due_at < 'infinity'`;
    await tunebase.tick();
    const attempt = await latestAttempt(tunebase, job);
    assertEquals([attempt.number, attempt.state], [number, "submission_unknown"]);
    await sql`update tunebase.attempts set claim_deadline = now() - interval '1 second', reconcile_at = now() where id = ${attempt.id}`;
    await tunebase.tick();
    assertEquals((await latestAttempt(tunebase, job)).outcome, "expired");
    // If the run exists after all, its worker is rejected before it costs anything.
    assertEquals((await new FakeWorker(tunebase, attempt.id).claim()).reason, "ended");
  }
  const now = await jobNow(job);
  assertEquals([now.status, now.error?.code], ["failed", "no_capacity"]);
});

// @proves report-crash-on-submit
Deno.test("a scheduler crash between claim and submit leaves an attempt that is reconciled", async () => {
  const job = await createJob(user);
  await sql`select tunebase_internal.claim_dispatch('local', 60, 1)`;
  const attempt = await latestAttempt(tunebase, job);
  assertEquals(attempt.state, "submitting");
  await sql`update tunebase.attempts set lease_until = now() - interval '1 second', reconcile_at = now() where id = ${attempt.id}`;
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).state, "submission_unknown");
});

// @proves stuck-in-queue
Deno.test("a job queued past its deadline fails with no_capacity and is cancelled at RunPod", async () => {
  runpod.run = taken;
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  runpod.status = says({ status: "IN_QUEUE" });
  await reconcile(job);
  assertEquals((await jobNow(job)).status, "queued", "before its deadline it waits");
  await sql`update tunebase.attempts set claim_deadline = now() - interval '1 second' where id = ${attempt.id}`;
  await reconcile(job);
  const now = await jobNow(job);
  assertEquals([now.status, now.error?.code], ["failed", "no_capacity"]);
  assert(runpod.cancels.some(({ path }) => path.endsWith(attempt.runpod_job_id)));
});

const ends: [string, unknown, number, string][] = [
  [
    "FAILED after retries",
    { status: "FAILED", error: "job timed out after 1 retries", retries: 1 },
    200,
    "worker_lost",
  ],
  ["gone (404)", {}, 404, "worker_lost"],
  [
    "COMPLETED without a manifest",
    { status: "COMPLETED", output: { status: "refused" } },
    200,
    "worker_lost",
  ],
  [
    "COMPLETED with a manifest that Storage does not have",
    {
      status: "COMPLETED",
      output: { status: "completed", manifest: manifest([{ path: "a", bytes: 1, sha256: "0".repeat(64) }]) },
    },
    200,
    "worker_lost",
  ],
  [
    "FAILED with the handler's own code",
    {
      status: "FAILED",
      error: "x",
      output: { status: "failed", error_code: "out_of_memory", error_message: "Too small.", hint: "Less." },
    },
    200,
    "out_of_memory",
  ],
  [
    "COMPLETED with a failure inside",
    {
      status: "COMPLETED",
      output: { status: "failed", error_code: "invalid_dataset", error_message: "Bad.", hint: "" },
    },
    200,
    "invalid_dataset",
  ],
  ["TIMED_OUT", { status: "TIMED_OUT", error: "executionTimeout exceeded" }, 200, "time_limit"],
];
for (const [what, body, status, code] of ends) {
  // @proves expired-run: a silent run that RunPod reports as gone (404) fails as worker_lost
  // @proves handler-error: a silent run that RunPod reports as FAILED with the handler's own code fails as out_of_memory
  // @proves no-artifact: a silent run that RunPod reports as COMPLETED without a manifest fails as worker_lost
  // @proves no-artifact: a silent run that RunPod reports as COMPLETED with a manifest that Storage does not have fails as worker_lost
  // @proves report-completed-failure, others-completed-failure: a silent run that RunPod reports as COMPLETED with a failure inside fails as invalid_dataset
  // @proves report-stale-status, others-time-limit: a silent run that RunPod reports as TIMED_OUT fails as time_limit
  Deno.test(`a silent run that RunPod reports as ${what} fails as ${code}`, async () => {
    const { job } = await running();
    runpod.status = says(body, status);
    await reconcile(job);
    const now = await jobNow(job);
    assertEquals([now.status, now.error?.code], ["failed", code]);
    assert((now.error?.message ?? "").length > 3);
    assertEquals((await latestAttempt(tunebase, job)).state, "ended");
  });
}

Deno.test("a run that times out at the limit set by its spend cap fails as spend_cap, not as time_limit", async () => {
  const { job } = await running();
  await sql`update tunebase.attempts set execution_timeout_seconds = 90 where id = ${
    (await latestAttempt(tunebase, job)).id
  }`;
  runpod.status = says({ status: "TIMED_OUT", error: "executionTimeout exceeded" });
  await reconcile(job);
  const { error } = await jobNow(job);
  assertEquals([error?.code, error?.message], [
    "spend_cap",
    "The run was stopped after 90 seconds, the maximum that its spend caps allow.",
  ]);
});

// @proves lost-webhook
Deno.test("a completed run whose finish was lost succeeds from its verified files", async () => {
  const { job, worker } = await running();
  const bytes = new TextEncoder().encode("weights");
  const file = FakeWorker.file("adapter_model.safetensors", bytes);
  await worker.upload(file.path, bytes);
  await worker.verify(file);
  const huggingface = { repo: "acme/x", private: false };
  await sql`update tunebase.jobs set plan = plan || ${sql.json({ huggingface })} where id = ${
    job.id.slice(6)
  }::uuid`;
  runpod.status = says({ status: "COMPLETED", output: { status: "completed", manifest: manifest([file]) } });
  await reconcile(job);
  assertEquals((await jobNow(job)).status, "succeeded");
  const [warning] = await sql`select message from tunebase.events
    where job_id = ${job.id.slice(6)}::uuid and level = 'warn' order by number desc limit 1`;
  assertEquals(
    warning?.message,
    "The worker ended before it reported the push to the Hugging Face Hub. Check acme/x, or push the adapter yourself: " +
      `tunebase adapter push ${job.id} acme/x --public`,
  );
});

Deno.test("a run that still reports continues regardless of RunPod's status", async () => {
  const { job } = await running();
  runpod.status = says({ status: "FAILED" });
  await sql`update tunebase.attempts set reconcile_at = now() where id = ${
    (await latestAttempt(tunebase, job)).id
  }`;
  await tunebase.tick();
  assertEquals((await jobNow(job)).status, "running");
});

// @proves expired-run
Deno.test("an unknown status, an unreachable RunPod and an early 404 change nothing", async () => {
  const { job } = await running();
  for (const answer of [says({ status: "PONDERING" }), says({ error: "x" }, 500)]) {
    runpod.status = answer;
    await reconcile(job);
    assertEquals((await jobNow(job)).status, "running");
  }
  runpod.status = says({}, 404);
  const attempt = await latestAttempt(tunebase, job);
  await sql`update tunebase.attempts set submitted_at = now(), reconcile_at = now() where id = ${attempt.id}`;
  await tunebase.tick();
  assertEquals((await jobNow(job)).status, "running");
});

// @proves cancel-ignored
Deno.test("a silent run that hangs in progress is abandoned and cancelled at RunPod", async () => {
  const { job } = await running();
  const attempt = await latestAttempt(tunebase, job);
  runpod.status = says({ status: "IN_PROGRESS" });
  await sql`
    update tunebase.attempts
    set lease_until = now() - interval '1 hour', reconcile_at = now(), missed_heartbeats = ${tunebase.platform.settings.maxMissedHeartbeats}
    where id = ${attempt.id}`;
  await tunebase.tick();
  assertEquals((await jobNow(job)).error?.code, "worker_lost");
  assert(runpod.cancels.some(({ path }) => path.endsWith(attempt.runpod_job_id)));
});

Deno.test("a scheduler crash after cancelling a hung run does not mark the job cancelled", async () => {
  const { job } = await running();
  const attempt = await latestAttempt(tunebase, job);
  const { maxMissedHeartbeats } = tunebase.platform.settings;
  await sql`
    update tunebase.attempts set lease_until = now() - interval '1 hour', missed_heartbeats = ${maxMissedHeartbeats}
    where id = ${attempt.id}`;
  const [{ directive } = {}] = await sql`
    select tunebase_internal.reconcile_attempt(${attempt.id}, '{"status": "IN_PROGRESS"}', null, ${maxMissedHeartbeats}) as directive`;
  assertEquals(directive, { cancel: true });
  assertEquals((await jobNow(job)).status, "running", "it ends when RunPod has received it");
  runpod.status = says({ status: "CANCELLED" });
  await reconcile(job);
  assertEquals((await jobNow(job)).error?.code, "worker_lost");
});

// @proves report-cancel-did-nothing
Deno.test("a cancellation is sent to RunPod, and the attempt ends on confirmation", async () => {
  runpod.run = taken;
  const job = await createJob(user);
  await tunebase.tick();
  await user.openai.fineTuning.jobs.cancel(job.id);
  runpod.status = says({ status: "CANCELLED" });
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  assert(runpod.cancels.some(({ path }) => path.endsWith(attempt.runpod_job_id)));
  assertEquals(attempt.outcome, "cancelled");
  assertEquals((await jobNow(job)).status, "cancelled");
});

// @proves report-stale-status
Deno.test("a run cancelled in RunPod's console cancels the job", async () => {
  const { job, worker } = await running();
  runpod.status = says({ status: "CANCELLED" });
  await worker.cancelled();
  await tunebase.tick();
  assertEquals((await jobNow(job)).status, "cancelled");
});

// @proves next-check, report-stuck-queued
Deno.test("every unfinished job has a scheduled reconcile", async () => {
  const forgotten = await sql`
    select j.id, j.status from tunebase.jobs j
    where not tunebase_internal.is_terminal(j.status) and j.status <> 'paused'
      and not (j.status = 'queued' and j.due_at is not null)
      and not exists (select from tunebase.attempts a where a.job_id = j.id and a.state <> 'ended' and a.reconcile_at is not null)`;
  assertEquals([...forgotten], []);
});
