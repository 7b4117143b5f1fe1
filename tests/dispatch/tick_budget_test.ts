/** A scheduler tick limits its work, wakes the next one, and leaves no attempt claimed but unsent. */
import { assert, assertEquals } from "#assert";
import { CpuBudget, price, tickCpuMs } from "../../supabase/functions/tunebase-scheduler/cpu_budget.ts";
import { dispatch } from "../../supabase/functions/tunebase-scheduler/dispatch/dispatch.ts";
import { maxReconciledPerTick } from "../../supabase/functions/tunebase-scheduler/reconcile/reconcile.ts";
import { Runpod } from "../../supabase/functions/tunebase-scheduler/runpod.ts";
import { platform } from "../../supabase/functions/_shared/platform.ts";
import { copyJobs } from "../support/job_copies.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, latestAttempt } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
const scheduler = platform("TUNEBASE_SCHEDULER_DB_URL", { get: (name) => tunebase.env[name] });
scheduler.waitUntil = () => {};
Deno.test.afterAll(async () => {
  await scheduler.db.close();
  await tunebase.close();
});
const { sql, runpod } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000, max_jobs = null`;
/** The first claim of a test that counts sets its endpoint up; its rate would make ticks wait. */
await sql`insert into tunebase_internal.runpod_endpoints (endpoint_id, max_running, run_per_second, calls_left)
  values ('local', null, 100000, 100000)`;

const queued = async () =>
  (await sql`select 1 from tunebase.jobs where status = 'queued' and due_at < 'infinity'`).length;

Deno.test("a tick budget counts started work and also ends by the clock", () => {
  const budget = new CpuBudget(10);
  assertEquals([budget.room(3), budget.isOver], [4, false]);
  budget.spend(12);
  assertEquals([budget.room(3), budget.isOver], [0, true]);
  assertEquals(new CpuBudget(10, 0).isOver, true);
});

Deno.test("a tick dispatches within its budget and wakes the next; each job is sent once", async () => {
  await createJob(user);
  await copyJobs(sql, 449, [user.projectId]);
  const most = Math.ceil(tickCpuMs / price.submission);
  const dispatched: number[] = [];
  for (let ticks = 0; await queued() > 0; ticks++) {
    assert(ticks < 10, "the queue does not drain");
    const nudges = tunebase.nudges;
    dispatched.push((await tunebase.tick()).dispatched);
    assertEquals(tunebase.nudges > nudges, await queued() > 0 || dispatched.at(-1) === most, "woken");
  }
  assert(dispatched.length > 2 && dispatched.every((count) => count <= most), `${dispatched}`);
  const jobs = runpod.runs.map(({ body }) => (body as { input: { job_id: string } }).input.job_id);
  assertEquals([jobs.length, new Set(jobs).size], [450, 450]);
});

Deno.test("claimed attempts are released unsent when the isolate is about to end", async () => {
  const before = runpod.runs.length;
  const job = await createJob(user);
  let asked = 0;
  // The isolate ends between the claim and the call.
  assertEquals(
    await dispatch(scheduler, new Runpod(scheduler.settings), new CpuBudget(), () => asked++ > 0),
    0,
  );
  const { state, outcome } = await latestAttempt(tunebase, job);
  assertEquals([state, outcome, runpod.runs.length], ["ended", "not_started", before]);
  const [row] = await sql`select status, due_at <= now() as due from tunebase.jobs
    where id = (select job_id from tunebase.attempts order by created_at desc limit 1)`;
  assertEquals([row?.status, row?.due], ["queued", true]);
  const events = await sql`select 1 from tunebase.events where level = 'warn' and job_id =
    (select job_id from tunebase.attempts order by created_at desc limit 1)`;
  assertEquals(events.length, 0, "nothing has happened to the job");
  await tunebase.tick();
  assertEquals((await latestAttempt(tunebase, job)).number, 2);
  assertEquals(runpod.runs.length, before + 1);
});

Deno.test("an attempt whose input cannot be built is released and retried later", async () => {
  const before = runpod.runs.length;
  const job = await createJob(user);
  await sql`update tunebase.jobs set plan = '{}' where replace(id::text, '-', '') = ${job.id.slice(6)}`;
  await tunebase.tick();
  const { state, outcome } = await latestAttempt(tunebase, job);
  assertEquals([state, outcome, runpod.runs.length], ["ended", "not_started", before]);
  assertEquals(await queued(), 1);
  await user.openai.fineTuning.jobs.cancel(job.id);
});

Deno.test("a tick that reaches its reconcile limit wakes the next", async () => {
  await sql`update tunebase.attempts set reconcile_at = now() + interval '1 hour' where state <> 'ended'`;
  await sql`
    update tunebase.attempts set reconcile_at = now() - interval '1 second'
    where id in (select id from tunebase.attempts where state = 'submitted' limit ${
    maxReconciledPerTick + 5
  }::integer)`;
  const reconciled: number[] = [];
  const nudges = tunebase.nudges;
  reconciled.push((await tunebase.tick()).reconciled);
  assertEquals(tunebase.nudges, nudges + 1);
  reconciled.push((await tunebase.tick()).reconciled);
  assertEquals([reconciled, tunebase.nudges], [[maxReconciledPerTick, 5], nudges + 1]);
});
