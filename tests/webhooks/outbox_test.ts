import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { WebhookReceiver } from "../support/webhook_receiver.ts";
import { subscribers, uuid } from "../support/subscribers.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { createJob } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
const receiver = new WebhookReceiver();
Deno.test.afterAll(async () => {
  await receiver.close();
  await tunebase.close();
});
const { sql } = tunebase;
const { fail, runningJob, settle } = subscribers(tunebase, receiver);

const enqueued = async (id: string) =>
  (await sql`select type from tunebase_internal.outbox where job_id = ${id} order by created_at, id`).map((
    { type },
  ) => String(type).replace("fine_tuning.job.", ""));
const endpoint = async (user: TestUser, types: string[], progress_seconds = 60) => {
  const response = await user.fetch("/webhook_endpoints", {
    method: "POST",
    body: JSON.stringify({
      name: "x",
      url: `${receiver.url}/hooks`,
      event_types: types,
      progress_seconds,
    }),
  });
  const body = await response.json();
  assertEquals(response.status, 200, JSON.stringify(body));
  return uuid(body.id);
};
const report = (id: string, progress: number) =>
  sql`update tunebase.jobs set progress = ${progress} where id = ${id}`;

// @proves every-event-delivered
Deno.test("each job event is enqueued once: created, started, paused, succeeded, failed, cancelled, checkpoint, budget warning", async () => {
  const user = await tunebase.user();
  const id = await runningJob(user);
  assertEquals(await enqueued(id), ["created", "started"]);
  await sql`update tunebase.jobs set spend_cap_usd = 10, cost_usd = 8, budget_warned_at = now() where id = ${id}`;
  await sql`update tunebase.jobs set budget_warned_at = now() + interval '1 second' where id = ${id}`;
  const [attempt] = await sql`
    insert into tunebase.attempts (job_id, project_id, number, state, endpoint_id, gpu_config, execution_timeout_seconds, ttl_seconds,
      claim_deadline, reconcile_at)
    values (${id}, ${user.projectId}, 1, 'submitting', 'e', '{}', 1, 1, now(), now() + interval '1 day') returning id`;
  await sql`insert into tunebase.checkpoints (job_id, project_id, attempt_id, step, files, metrics)
    values (${id}, ${user.projectId}, ${attempt?.id}, 7, '[]', '{"train_loss": 1.5}')`;
  await sql`update tunebase.jobs set status = 'paused' where id = ${id}`;
  await sql`update tunebase.jobs set status = 'queued', due_at = now() + interval '1 day' where id = ${id}`;
  await sql`update tunebase.jobs set status = 'running', due_at = null where id = ${id}`;
  await fail(id);
  assertEquals(await enqueued(id), [
    "created",
    "started",
    "budget_warning",
    "checkpoint",
    "paused",
    "failed",
  ]);
  const [checkpoint] =
    await sql`select data from tunebase_internal.outbox where job_id = ${id} and type like '%checkpoint'`;
  assertEquals([
    checkpoint?.data.id,
    checkpoint?.data.checkpoint.step_number,
    checkpoint?.data.checkpoint.metrics,
  ], [
    `ftjob-${id.replaceAll("-", "")}`,
    7,
    { train_loss: 1.5 },
  ]);

  const done = await runningJob(user);
  await sql`update tunebase.jobs set status = 'succeeded', progress = 100, finished_at = now(), fine_tuned_model = 'ft:m' where id = ${done}`;
  assertEquals(await enqueued(done), ["created", "started", "succeeded"]);
  const cancelled = await createJob(user);
  await user.openai.fineTuning.jobs.cancel(cancelled.id);
  assertEquals(await enqueued(uuid(cancelled.id)), ["created", "cancelled"]);
});

Deno.test("a rolled-back change enqueues no event", async () => {
  const user = await tunebase.user();
  const id = await runningJob(user);
  await assertRejects(() =>
    sql.begin(async (t) => {
      await t`update tunebase.jobs set status = 'paused' where id = ${id}`;
      throw new Error("crash");
    })
  );
  assertEquals(await enqueued(id), ["created", "started"]);
});

Deno.test("progress events are enqueued only for subscribed endpoints, at the highest requested rate", async () => {
  const user = await tunebase.user();
  const id = await runningJob(user);
  await report(id, 10);
  assertEquals(await enqueued(id), ["created", "started"], "no subscriber wants it");
  await endpoint(user, ["fine_tuning.job.succeeded"], 1);
  await report(id, 11);
  assertEquals((await enqueued(id)).length, 2, "an endpoint for other events");
  const eager = await endpoint(user, ["fine_tuning.job.progress"], 10);
  const calm = await endpoint(user, ["fine_tuning.job.progress"], 1000);
  const off = await endpoint(user, ["fine_tuning.job.progress"], 1);
  await sql`update tunebase.webhook_endpoints set enabled = false, disabled_at = now() where id = ${off}`;
  for (const progress of [12, 13, 14, 14]) await report(id, progress);
  assertEquals(await enqueued(id), ["created", "started", "progress"]);
  for (const progress of [20, 30]) {
    await sql`update tunebase_internal.outbox set created_at = created_at - interval '11 seconds' where job_id = ${id}`;
    await sql`update tunebase.webhook_endpoints set created_at = created_at - interval '11 seconds'`;
    await report(id, progress);
    await report(id, progress + 1);
  }
  assertEquals((await enqueued(id)).filter((type) => type === "progress").length, 3);
  await sql`select tunebase_internal.fan_out_events(1000)`;
  const sent = async (target: string) =>
    (await sql`select 1 from tunebase.webhook_deliveries where endpoint_id = ${target} and event_type like '%progress'`)
      .length;
  assertEquals([await sent(eager), await sent(calm), await sent(off)], [3, 1, 0]);
});

// @proves every-event-delivered
Deno.test("a failing trigger does not affect the job, is logged, and its event is enqueued later", async () => {
  const user = await tunebase.user();
  await endpoint(user, [
    "fine_tuning.job.created",
    "fine_tuning.job.started",
    "fine_tuning.job.progress",
    "fine_tuning.job.failed",
  ]);
  await sql`alter table tunebase_internal.outbox rename to outbox_away`;
  const id = await runningJob(user);
  await report(id, 50);
  await fail(id);
  const [job] = await sql`select status, progress from tunebase.jobs where id = ${id}`;
  assertEquals([job?.status, job?.progress], ["failed", 50]);
  const noted =
    await sql`select trigger, type, error from tunebase_internal.trigger_failures where job_id = ${id} order by id`;
  assertEquals(noted.map(({ type }) => type), [
    "fine_tuning.job.created",
    "fine_tuning.job.started",
    null,
    "fine_tuning.job.failed",
  ]);
  assertStringIncludes(noted[0]?.error, "outbox");
  await tunebase.tick(); // the scheduler works too
  await sql`alter table tunebase_internal.outbox_away rename to outbox`;
  await settle();
  assertEquals((await enqueued(id)).sort(), ["created", "failed", "started"]);
  await settle();
  assertEquals((await enqueued(id)).length, 3, "enqueued once");
});

Deno.test("a job continues even if the trigger failure cannot be logged", async () => {
  const user = await tunebase.user();
  await sql`alter table tunebase_internal.outbox rename to outbox_away`;
  await sql`alter table tunebase_internal.trigger_failures rename to trigger_failures_away`;
  const id = await runningJob(user);
  const [job] = await sql`select status from tunebase.jobs where id = ${id}`;
  await sql`alter table tunebase_internal.outbox_away rename to outbox`;
  await sql`alter table tunebase_internal.trigger_failures_away rename to trigger_failures`;
  assertEquals(job?.status, "running");
});

Deno.test("an event that fails to fan out does not block others and is retried", async () => {
  const user = await tunebase.user();
  const bad = await runningJob(user);
  const good = await runningJob(user);
  await sql.unsafe(
    `alter table tunebase.notifications add constraint broken check (job_id <> '${bad}') not valid`,
  );
  await fail(bad);
  await fail(good);
  await tunebase.tick();
  const seen = async (id: string) =>
    (await sql`select 1 from tunebase.notifications where job_id = ${id}`).length;
  assertEquals([await seen(bad), await seen(good)], [0, 1]);
  await sql`alter table tunebase.notifications drop constraint broken`;
  await sql`update tunebase_internal.outbox set due_at = now() where job_id = ${bad}`;
  await settle();
  assertEquals(await seen(bad), 1);
});

Deno.test("job changes are broadcast to a private Realtime topic, and a failure is only a warning", async () => {
  const user = await tunebase.user();
  // A fake of Supabase Realtime's function with the same signature; it records its arguments.
  await sql`create schema realtime`;
  await sql`create table realtime.sent (payload jsonb, event text, topic text, private boolean)`;
  await sql`
    create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
    language sql as 'insert into realtime.sent values ($1, $2, $3, $4)'`;
  const id = await runningJob(user);
  const name = `ftjob-${id.replaceAll("-", "")}`;
  const sent = () => sql`select * from realtime.sent where topic = ${`tunebase:job:${name}`}`;
  const started = (await sent()).at(-1);
  assertEquals([started?.event, started?.private, started?.payload.id, started?.payload.status], [
    "job",
    true,
    name,
    "running",
  ]);
  await sql`update tunebase.jobs set last_event = last_event + 1 where id = ${id}`;
  assertEquals((await sent()).at(-1)?.payload.last_event, (started?.payload.last_event ?? 0) + 1);
  const before = (await sent()).length;
  await report(id, 33);
  assertEquals((await sent()).length, before, "a change without an event sends nothing");

  await sql`alter table realtime.sent rename to gone`;
  await fail(id);
  assertEquals((await sql`select status from tunebase.jobs where id = ${id}`)[0]?.status, "failed");
  await sql`drop schema realtime cascade`;
  assert((await enqueued(id)).includes("failed"));
});

Deno.test("deliveries are pruned after 30 days and sent events after two; pending ones stay", async () => {
  const user = await tunebase.user();
  await endpoint(user, ["fine_tuning.job.created"]);
  for (let i = 0; i < 3; i++) await createJob(user);
  await sql`select tunebase_internal.fan_out_events(1000)`;
  const of = () =>
    sql`select status, reason from tunebase.webhook_deliveries where project_id = ${user.projectId} order by id`;
  const [first, second, third] =
    await sql`select id from tunebase.webhook_deliveries where project_id = ${user.projectId} order by id`;
  const old = sql`now() - interval '31 days'`;
  await sql`update tunebase.webhook_deliveries set status = 'dead', reason = 'old', next_at = null, created_at = ${old} where id = ${first?.id}`;
  await sql`update tunebase.webhook_deliveries set status = 'dead', reason = 'young', next_at = null where id = ${second?.id}`;
  await sql`update tunebase.webhook_deliveries set created_at = ${old}, next_at = now() + interval '1 hour' where id = ${third?.id}`;
  await sql`update tunebase_internal.outbox set fanned_out_at = now() - interval '3 days' where project_id = ${user.projectId}`;
  const id = await runningJob(user);
  await sql`update tunebase_internal.outbox set created_at = now() - interval '40 days', due_at = now() + interval '1 hour'
    where job_id = ${id} and fanned_out_at is null`;
  await sql`select tunebase_internal.prune_notifications(1000)`;
  assertEquals((await of()).map(({ status, reason }) => reason ?? status), ["young", "pending"]);
  assertEquals(
    (await sql`select distinct job_id from tunebase_internal.outbox where project_id = ${user.projectId}`)
      .map((row) => row.job_id),
    [id],
  );
});
