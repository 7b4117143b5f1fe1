/** Dispatch failures at RunPod, and dispatch order; the normal cases are in scheduler_test.ts. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { freePort } from "../../local/state_dir.ts";
import { Runpod } from "../../supabase/functions/tunebase-scheduler/runpod.ts";
import { RunInput } from "../../supabase/functions/_shared/protocol.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt, manifest } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, runpod } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000`;
const jobNow = (job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
const says = (body: unknown, status = 200) => () => Response.json(body, { status });
const uuid = (job: { id: string }) =>
  job.id.replace("ftjob-", "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
const bytes = (text: string) => new TextEncoder().encode(text);

/** A running job whose worker stops sending reports. */
async function silent() {
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  await sql`update tunebase.jobs set max_attempts = 1 where id = ${attempt.job_id}`;
  const worker = new FakeWorker(tunebase, attempt.id);
  await worker.claim();
  const reconcile = async () => {
    await sql`
      update tunebase.attempts
      set reconcile_at = now(), lease_until = now() - interval '1 second', submitted_at = now() - interval '2 minutes'
      where id = ${attempt.id}`;
    await tunebase.tick();
  };
  return { job, attempt, worker, reconcile };
}
/** Ends everything that is in progress, so that it does not affect the next test. */
const clear = async () => {
  await sql`update tunebase.attempts set state = 'ended', outcome = 'lost', ended_at = now(), reconcile_at = null where state <> 'ended'`;
  await sql`update tunebase.jobs set status = 'cancelled', finished_at = now(), due_at = null where not tunebase_internal.is_terminal(status)`;
  await sql`update tunebase_internal.runpod_endpoints set max_running = null, run_per_second = 100, blocked_until = null`;
};

Deno.test("a project with many jobs does not starve another project", async () => {
  await clear();
  const [many, one] = [await tunebase.user(), await tunebase.user()];
  await sql`update tunebase.projects set max_running = 1000`;
  for (let i = 0; i < 30; i++) await createJob(many);
  const late = await createJob(one);
  await tunebase.tick();
  const order = runpod.runs.map(({ body }) => Reflect.get(Reflect.get(Object(body), "input"), "job_id"));
  const place = order.indexOf(uuid(late)) - (order.length - 31);
  assert(place >= 0 && place < 16, `it was sent as number ${place} of 31, not last`);
});

Deno.test("an endpoint's concurrency limit applies across projects", async () => {
  await clear();
  await createJob(user);
  await tunebase.tick();
  await sql`update tunebase_internal.runpod_endpoints set max_running = 3`;
  const others = await Promise.all([tunebase.user(), tunebase.user(), tunebase.user(), tunebase.user()]);
  for (const other of others) await createJob(other);
  const before = runpod.runs.length;
  await tunebase.tick();
  assertEquals(runpod.runs.length - before, 2);
  assertEquals((await sql`select 1 from tunebase.attempts where state <> 'ended'`).length, 3);
});

// @proves rate-limited
Deno.test("dispatch respects the endpoint's rate limit and returns when the next call is allowed", async () => {
  await clear();
  for (let i = 0; i < 5; i++) await createJob(user);
  const claimed = await sql.begin(async (sql) => {
    // In one transaction, where now() is constant.
    await sql`update tunebase_internal.runpod_endpoints set run_per_second = 10, calls_left = 2.5, counted_at = now()`;
    const [row] = await sql`select tunebase_internal.claim_dispatch('local', 60, 16) as answer`;
    return row?.answer;
  });
  assertEquals([claimed.claimed.length, claimed.wait_seconds], [2, 0.1]);
  const [{ calls_left } = {}] =
    await sql`select calls_left from tunebase_internal.runpod_endpoints where endpoint_id = 'local'`;
  assertEquals(calls_left, 0.5);
  await tunebase.tick();
  assertEquals(
    (await sql`select 1 from tunebase.attempts where state <> 'ended'`).length,
    5,
    "the tick waits for the rest",
  );
});

Deno.test("a job that RunPod rejects until its queue timeout fails with no_capacity", async () => {
  await clear();
  runpod.run = () => new Response("slow down", { status: 429, headers: { "retry-after": "5" } });
  const job = await createJob(user);
  await tunebase.tick();
  assertEquals((await jobNow(job)).status, "queued");
  await sql`update tunebase.jobs set queued_at = now() - interval '2 hours', due_at = now() where id = ${
    uuid(job)
  }`;
  await sql`update tunebase.attempts set created_at = now() - interval '90 minutes' where job_id = ${
    uuid(job)
  }`;
  await sql`update tunebase_internal.runpod_endpoints set blocked_until = null, calls_left = 1`;
  await tunebase.tick();
  const now = await jobNow(job);
  assertEquals([now.status, now.error?.code], ["failed", "no_capacity"]);
  runpod.run = () => Response.json({ id: `run-${runpod.requests.length}`, status: "IN_QUEUE" });
});

// @proves ambiguous-run
Deno.test("RunPod's webhook supplies the id of a run whose /run response had none", async () => {
  await clear();
  runpod.run = () => new Response("", { status: 504 });
  const job = await createJob(user);
  await tunebase.tick();
  runpod.run = () => Response.json({ id: `run-${runpod.requests.length}`, status: "IN_QUEUE" });
  assertEquals((await latestAttempt(tunebase, job)).state, "submission_unknown");
  const webhook = String(Reflect.get(Object(runpod.runs.at(-1)?.body), "webhook"));
  const response = await fetch(webhook, {
    method: "POST",
    body: JSON.stringify({ id: "run-from-webhook", status: "FAILED", error: "boot" }),
  });
  await response.body?.cancel();
  const attempt = await latestAttempt(tunebase, job);
  assertEquals([attempt.state, attempt.runpod_job_id], ["submitted", "run-from-webhook"]);
  runpod.status = says({ status: "IN_QUEUE" });
  await tunebase.tick();
  assert(runpod.requests.some(({ path }) => path.endsWith("/status/run-from-webhook")));
});

const reasons: [string, unknown, string][] = [
  ["no workers", { jobs: { inQueue: 1 }, workers: {} }, "the endpoint has no workers"],
  [
    "busy workers",
    { jobs: { inQueue: 7 }, workers: { running: 2 } },
    "all workers are busy (7 runs in the queue)",
  ],
  ["throttled workers", { jobs: {}, workers: { throttled: 3 } }, "this GPU type is scarce at the moment"],
  ["a crash loop", { jobs: {}, workers: { unhealthy: 1 } }, "the workers crash on startup"],
];
for (const [what, health, reason] of reasons) {
  // @proves stuck-in-queue: a job that waits long explains why: throttled workers
  // @proves others-wait-reason: a job that waits long explains why: busy workers
  Deno.test(`a job that waits long explains why: ${what}`, async () => {
    await clear();
    runpod.health = says(health);
    runpod.status = says({ status: "IN_QUEUE" });
    const job = await createJob(user);
    await tunebase.tick();
    await sql`update tunebase.attempts set created_at = now() - interval '2 minutes', reconcile_at = now() where job_id = ${
      uuid(job)
    }`;
    await tunebase.tick();
    assertEquals(Reflect.get(await jobNow(job), "status_reason"), reason);
    await sql`update tunebase.attempts set claim_deadline = now() - interval '1 second', reconcile_at = now() where job_id = ${
      uuid(job)
    }`;
    await tunebase.tick();
    const now = await jobNow(job);
    assertEquals(now.error?.code, "no_capacity");
    assertStringIncludes(now.error?.message ?? "", reason);
  });
}

// @proves succeeded-iff-stored, report-stuck-initializing
Deno.test("a manifest in Storage completes a job whose worker could not report", async () => {
  await clear();
  const { job, worker, reconcile } = await silent();
  const weights = bytes("weights that arrived");
  const file = FakeWorker.file("adapter_model.safetensors", weights);
  await worker.upload(file.path, weights);
  await worker.upload("manifest.json", bytes(JSON.stringify(manifest([file]))));
  runpod.status = says({}, 404);
  await reconcile();
  const now = await jobNow(job);
  assertEquals(now.status, "succeeded");
  const adapter = await (await user.fetch(`/fine_tuning/jobs/${job.id}/adapter`)).json();
  assertEquals(await (await fetch(adapter.files[0].url)).text(), "weights that arrived");
});

// @proves succeeded-iff-stored
Deno.test("a manifest in Storage with a damaged file does not complete the job", async () => {
  await clear();
  const { job, worker, reconcile } = await silent();
  const file = FakeWorker.file("adapter_model.safetensors", bytes("what was meant"));
  await worker.upload(file.path, bytes("what arrived"));
  await worker.upload("manifest.json", bytes(JSON.stringify(manifest([file]))));
  runpod.status = says({ status: "COMPLETED", output: { status: "completed" } });
  await reconcile();
  assertEquals((await jobNow(job)).error?.code, "worker_lost");
});

// @proves run-twice
Deno.test("a run executed twice: the rejected second worker does not end the first", async () => {
  await clear();
  const { job, worker, attempt } = await silent();
  runpod.status = says({ status: "COMPLETED", output: { status: "refused", detail: "held" } });
  const quiet = async (seconds: number) => {
    await sql`
      update tunebase.attempts
      set reconcile_at = now(), started_at = now() - interval '10 minutes',
        last_report_at = now() - ${seconds} * interval '1 second',
        lease_until = now() - ${seconds - 60} * interval '1 second'
      where id = ${attempt.id}`;
    await tunebase.tick();
  };
  await quiet(70);
  assertEquals((await jobNow(job)).status, "running");
  assertEquals((await worker.report()).directive, "continue");
  await quiet(130);
  assertEquals((await jobNow(job)).error?.code, "worker_lost", "the first was gone too");
});

Deno.test("an outage of Tunebase does not end a healthy run", async () => {
  await clear();
  const { job, worker, attempt, reconcile } = await silent();
  runpod.status = says({ status: "IN_PROGRESS" });
  await sql`update tunebase.attempts set lease_until = now() - interval '5 hours' where id = ${attempt.id}`;
  for (let i = 0; i < 6; i++) await reconcile();
  assertEquals((await jobNow(job)).status, "running");
  assertEquals((await worker.report()).directive, "continue");
  const [{ missed_heartbeats } = {}] =
    await sql`select missed_heartbeats from tunebase.attempts where id = ${attempt.id}`;
  assertEquals(missed_heartbeats, 0);
});

// @proves cancel-ignored
Deno.test("a cancellation that RunPod ignores is resent and raises an alert while cost accrues", async () => {
  await clear();
  const { job, attempt, reconcile } = await silent();
  runpod.status = says({ status: "IN_PROGRESS" });
  await user.openai.fineTuning.jobs.cancel(job.id);
  const cancels = () => runpod.cancels.filter(({ path }) => path.endsWith(attempt.runpod_job_id)).length;
  await reconcile();
  assertEquals([cancels(), (await latestAttempt(tunebase, job)).state], [1, "running"]);
  await sql`
    update tunebase.attempts
    set cancel_sent_at = now() - interval '31 seconds', cancel_requested_at = now() - interval '6 minutes'
    where id = ${attempt.id}`;
  await reconcile();
  assertEquals(cancels(), 2);
  const [alert] =
    await sql`select message from tunebase_internal.alerts where kind = 'cancel_ignored_by_runpod' and subject = ${attempt.id}`;
  assertStringIncludes(alert?.message, "may be billed.");
  assertEquals((await jobNow(job)).status, "cancelled", "the job was cancelled at once");
  runpod.status = says({}, 404);
  await reconcile();
  assertEquals((await latestAttempt(tunebase, job)).outcome, "cancelled");
});

Deno.test("a cancellation that fails at RunPod is resent at the next reconcile", async () => {
  await clear();
  const { job, attempt, reconcile } = await silent();
  await user.openai.fineTuning.jobs.cancel(job.id);
  runpod.status = says({ status: "IN_PROGRESS" });
  runpod.cancel = says({ error: "x" }, 500);
  await reconcile();
  runpod.cancel = says({ status: "CANCELLED" });
  await reconcile();
  assertEquals(runpod.cancels.filter(({ path }) => path.endsWith(attempt.runpod_job_id)).length, 2);
});

// @proves cancel-race
Deno.test("when a cancellation races the completion, the first recorded wins", async () => {
  await clear();
  const { job, worker } = await silent();
  const [finished] = await Promise.all([
    worker.finishWithAdapter(),
    user.openai.fineTuning.jobs.cancel(job.id).catch(() => null),
  ]);
  const now = await jobNow(job);
  assert(now.status === "succeeded" || now.status === "cancelled");
  assertEquals(finished.accepted, true);
  assertEquals(now.fine_tuned_model !== null, now.status === "succeeded");
});

// @proves rejected-run
Deno.test("a permanent rejection by RunPod raises an alert", async () => {
  await clear();
  runpod.run = () => new Response("balance too low", { status: 402 });
  await createJob(user);
  await tunebase.tick();
  runpod.run = () => Response.json({ id: `run-${runpod.requests.length}`, status: "IN_QUEUE" });
  const [alert] = await sql`select message from tunebase_internal.alerts where kind = 'run_refused'`;
  assertStringIncludes(alert?.message, "402 balance too low");
});

// @proves large-request
Deno.test("a refused connection started nothing; a body over 10 MB is never sent", async () => {
  await clear();
  const job = await createJob(user);
  await tunebase.tick();
  const input = RunInput.parse(Reflect.get(Object(runpod.runs.at(-1)?.body), "input"));
  const unreachable = new Runpod({ runpodUrl: `http://127.0.0.1:${freePort(0, "")}`, runpodKey: "k" });
  const policy = { executionTimeout: 5000, ttl: 10_000 };
  assertEquals((await unreachable.run("e", input, "https://x.example/w", policy)).kind, "not_started");
  const huge = {
    ...input,
    hyperparameters: { ...input.hyperparameters, base_model: "x".repeat(10_000_001) },
  };
  const refused = await unreachable.run("e", huge, "https://x.example/w", policy);
  assertEquals(refused.kind, "refused");
  assertEquals((await jobNow(job)).status, "queued");
});
