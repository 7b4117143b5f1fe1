import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Messengers } from "./messengers.ts";
import { startTunebase, type TestUser } from "./tunebase.ts";
import { createJob } from "./worker.ts";

const messengers = new Messengers("re_test");
const tunebase = await startTunebase({
  RESEND_API_URL: messengers.receiver.url,
  RESEND_API_KEY: messengers.key,
  TUNEBASE_EMAIL_FROM: "Tunebase <tunebase@example.com>",
  TUNEBASE_DASHBOARD_URL: "https://tune.example.com/",
});
Deno.test.afterAll(async () => {
  await messengers.receiver.close();
  await tunebase.close();
});
const { sql } = tunebase;
await sql`update public.projects set max_running = 1000`;
// Nobody dispatches here: tests move the jobs.
tunebase.runpod.run = () => Response.json({ id: crypto.randomUUID(), status: "IN_QUEUE" });

const uuid = (id: string) =>
  id.replace(/^[a-z]+[-_]/, "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");

/** A running job, moved there as the real functions do: by its row. */
async function runningJob(user: TestUser): Promise<string> {
  const job = await createJob(user);
  const id = uuid(job.id);
  await sql`update public.jobs set status = 'running', due_at = null, started_at = now() where id = ${id}`;
  return id;
}
const fail = (id: string) =>
  sql`update public.jobs set status = 'failed', finished_at = now(), error_code = 'out_of_memory',
    error_message = 'The GPU ran out of memory <here>.', error_hint = 'Use a smaller batch_size.' where id = ${id}`;
const owed = async (id: string) =>
  (await sql`select type from tunebase.outbox where job_id = ${id} order by created_at, id`).map(({ type }) =>
    String(type).replace("fine_tuning.job.", "")
  );
const endpoint = async (user: TestUser, types: string[], progress_seconds = 60) => {
  const response = await user.fetch("/webhook_endpoints", {
    method: "POST",
    body: JSON.stringify({
      name: "x",
      url: `${messengers.receiver.url}/hooks`,
      event_types: types,
      progress_seconds,
    }),
  });
  const body = await response.json();
  assertEquals(response.status, 200, JSON.stringify(body));
  return uuid(body.id);
};
const report = (id: string, progress: number) =>
  sql`update public.jobs set progress = ${progress} where id = ${id}`;
async function settle(): Promise<void> {
  for (let round = 0; round < 100; round++) {
    await tunebase.tick();
    const left =
      await sql`select 1 from public.webhook_deliveries where status = 'pending' and (next_at <= now() or leased_until > now())
      union all select 1 from tunebase.outbox where fanned_out_at is null and due_at <= now()`;
    if (left.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("deliveries do not settle");
}

Deno.test("created, started, paused, succeeded, failed, cancelled, checkpoint and budget warning are owed once each", async () => {
  const user = await tunebase.user();
  const id = await runningJob(user);
  assertEquals(await owed(id), ["created", "started"]);
  await sql`update public.jobs set spend_cap_usd = 10, cost_usd = 8, budget_warned_at = now() where id = ${id}`;
  await sql`update public.jobs set budget_warned_at = now() + interval '1 second' where id = ${id}`;
  const [attempt] = await sql`
    insert into public.attempts (job_id, project_id, number, state, endpoint_id, gpu_config, execution_timeout_seconds, ttl_seconds,
      claim_deadline, look_at)
    values (${id}, ${user.projectId}, 1, 'submitting', 'e', '{}', 1, 1, now(), now() + interval '1 day') returning id`;
  await sql`insert into public.checkpoints (job_id, project_id, attempt_id, step, files, metrics)
    values (${id}, ${user.projectId}, ${attempt?.id}, 7, '[]', '{"train_loss": 1.5}')`;
  await sql`update public.jobs set status = 'paused' where id = ${id}`;
  await sql`update public.jobs set status = 'queued', due_at = now() + interval '1 day' where id = ${id}`;
  await sql`update public.jobs set status = 'running', due_at = null where id = ${id}`;
  await fail(id);
  assertEquals(await owed(id), ["created", "started", "budget_warning", "checkpoint", "paused", "failed"]);
  const [checkpoint] =
    await sql`select data from tunebase.outbox where job_id = ${id} and type like '%checkpoint'`;
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
  await sql`update public.jobs set status = 'succeeded', progress = 100, finished_at = now(), fine_tuned_model = 'ft:m' where id = ${done}`;
  assertEquals(await owed(done), ["created", "started", "succeeded"]);
  const cancelled = await createJob(user);
  await user.openai.fineTuning.jobs.cancel(cancelled.id);
  assertEquals(await owed(uuid(cancelled.id)), ["created", "cancelled"]);
});

Deno.test("what is rolled back was never owed", async () => {
  const user = await tunebase.user();
  const id = await runningJob(user);
  await assertRejects(() =>
    sql.begin(async (t) => {
      await t`update public.jobs set status = 'paused' where id = ${id}`;
      throw new Error("crash");
    })
  );
  assertEquals(await owed(id), ["created", "started"]);
});

Deno.test("progress is owed only where an endpoint wants it, at the pace of the most eager one", async () => {
  const user = await tunebase.user();
  const id = await runningJob(user);
  await report(id, 10);
  assertEquals(await owed(id), ["created", "started"], "nobody wants it");
  await endpoint(user, ["fine_tuning.job.succeeded"], 1);
  await report(id, 11);
  assertEquals((await owed(id)).length, 2, "an endpoint that wants something else");
  const eager = await endpoint(user, ["fine_tuning.job.progress"], 10);
  const calm = await endpoint(user, ["fine_tuning.job.progress"], 1000);
  const off = await endpoint(user, ["fine_tuning.job.progress"], 1);
  await sql`update public.webhook_endpoints set enabled = false, disabled_at = now() where id = ${off}`;
  for (const progress of [12, 13, 14, 14]) await report(id, progress);
  assertEquals(await owed(id), ["created", "started", "progress"]);
  for (const progress of [20, 30]) {
    await sql`update tunebase.outbox set created_at = created_at - interval '11 seconds' where job_id = ${id}`;
    await sql`update public.webhook_endpoints set created_at = created_at - interval '11 seconds'`;
    await report(id, progress);
    await report(id, progress + 1);
  }
  assertEquals((await owed(id)).filter((type) => type === "progress").length, 3);
  await sql`select tunebase.fan_out(1000)`;
  const sent = async (target: string) =>
    (await sql`select 1 from public.webhook_deliveries where endpoint_id = ${target} and event_type like '%progress'`)
      .length;
  assertEquals([await sent(eager), await sent(calm), await sent(off)], [3, 1, 0]);
});

Deno.test("a trigger that breaks touches no job, is noted for the operator, and what it owed is paid later", async () => {
  const user = await tunebase.user();
  await endpoint(user, [
    "fine_tuning.job.created",
    "fine_tuning.job.started",
    "fine_tuning.job.progress",
    "fine_tuning.job.failed",
  ]);
  await sql`alter table tunebase.outbox rename to outbox_away`;
  const id = await runningJob(user);
  await report(id, 50);
  await fail(id);
  const [job] = await sql`select status, progress from public.jobs where id = ${id}`;
  assertEquals([job?.status, job?.progress], ["failed", 50]);
  const noted =
    await sql`select trigger, type, error from tunebase.trigger_failures where job_id = ${id} order by id`;
  assertEquals(noted.map(({ type }) => type), [
    "fine_tuning.job.created",
    "fine_tuning.job.started",
    null,
    "fine_tuning.job.failed",
  ]);
  assertStringIncludes(noted[0]?.error, "outbox");
  await tunebase.tick(); // nor does it break the scheduler
  await sql`alter table tunebase.outbox_away rename to outbox`;
  await settle();
  assertEquals((await owed(id)).sort(), ["created", "failed", "started"]);
  await settle();
  assertEquals((await owed(id)).length, 3, "paid once");
});

Deno.test("even when nothing can be noted, the job goes on", async () => {
  const user = await tunebase.user();
  await sql`alter table tunebase.outbox rename to outbox_away`;
  await sql`alter table tunebase.trigger_failures rename to trigger_failures_away`;
  const id = await runningJob(user);
  const [job] = await sql`select status from public.jobs where id = ${id}`;
  await sql`alter table tunebase.outbox_away rename to outbox`;
  await sql`alter table tunebase.trigger_failures_away rename to trigger_failures`;
  assertEquals(job?.status, "running");
});

Deno.test("an event that cannot be fanned out holds up no other and is tried again", async () => {
  const user = await tunebase.user();
  const bad = await runningJob(user);
  const good = await runningJob(user);
  await sql.unsafe(
    `alter table public.notifications add constraint broken check (job_id <> '${bad}') not valid`,
  );
  await fail(bad);
  await fail(good);
  await tunebase.tick();
  const seen = async (id: string) =>
    (await sql`select 1 from public.notifications where job_id = ${id}`).length;
  assertEquals([await seen(bad), await seen(good)], [0, 1]);
  await sql`alter table public.notifications drop constraint broken`;
  await sql`update tunebase.outbox set due_at = now() where job_id = ${bad}`;
  await settle();
  assertEquals(await seen(bad), 1);
});

Deno.test("people find what matters in their list, and each member has read marks of their own", async () => {
  const user = await tunebase.user();
  const other = await tunebase.user();
  await sql`insert into public.project_members (project_id, user_id, role) values (${user.projectId}, ${other.id}, 'viewer')`;
  const [failed, done] = [await runningJob(user), await runningJob(user)];
  await fail(failed);
  await sql`update public.jobs set status = 'succeeded', progress = 100, finished_at = now(), fine_tuned_model = 'ft:mine' where id = ${done}`;
  await settle();
  const list = async (query = "") => await (await user.fetch(`/notifications${query}`)).json();
  const all = await list();
  assertEquals(all.data.map(({ level }: { level: string }) => level), ["info", "error"]);
  assertEquals([all.unread_count, all.object, all.has_more], [2, "list", false]);
  assertStringIncludes(all.data[0].text, "ft:mine");
  assertStringIncludes(all.data[1].text, "out of memory");
  assertStringIncludes(all.data[1].text, "smaller batch_size");
  assertEquals(all.data[1].fine_tuning_job_id, `ftjob-${failed.replaceAll("-", "")}`);

  const read = await user.fetch(`/notifications/${all.data[0].id}/read`, { method: "POST" });
  assertEquals((await read.json()).unread_count, 1);
  await (await user.fetch(`/notifications/${all.data[0].id}/read`, { method: "POST" })).body?.cancel();
  const unread = await list("?unread=true");
  assertEquals(unread.data.map(({ id }: { id: string }) => id), [all.data[1].id]);
  assert((await list()).data[0].read_at > 0);

  const theirs = {
    headers: {
      authorization: `Bearer ${other.accessToken}`,
      "openai-project": `proj_${user.projectId.replaceAll("-", "")}`,
    },
  };
  assertEquals((await (await user.fetch("/notifications", theirs)).json()).unread_count, 2);
  const marked = await user.fetch("/notifications/read", { method: "POST", ...theirs });
  assertEquals((await marked.json()).unread_count, 0, "a viewer marks their own as read");
  assertEquals((await list()).unread_count, 1);

  const page = await list("?limit=1");
  assertEquals([page.data.length, page.has_more], [1, true]);
  assertEquals((await list(`?limit=1&after=${page.last_id}`)).data[0].id, all.data[1].id);
});

const addChannel = (user: TestUser, body: unknown) =>
  user.fetch("/notification_channels", { method: "POST", body: JSON.stringify(body) });

Deno.test("a failed job's mail carries the error, the hint and a link, and is sent once even if it is sent again", async () => {
  const user = await tunebase.user();
  const made = await (await addChannel(user, { kind: "email", target: "ada@example.com" })).json();
  assert(made.id.startsWith("nch_"));
  const id = await runningJob(user);
  await fail(id);
  messengers.emails.length = 0;
  await settle();
  assertEquals(messengers.emails.length, 1);
  const [mail] = messengers.emails;
  assertEquals([mail?.to, mail?.from], [["ada@example.com"], "Tunebase <tunebase@example.com>"]);
  assertStringIncludes(mail?.subject ?? "", "failed");
  for (
    const part of [
      "out_of_memory",
      "ran out of memory",
      "smaller batch_size",
      `https://tune.example.com/jobs/ftjob-${id.replaceAll("-", "")}`,
    ]
  ) {
    assertStringIncludes(mail?.text ?? "", part);
  }
  // The scheduler died before it recorded the answer: Resend knows the key.
  await sql`update public.webhook_deliveries set status = 'pending', delivered_at = null, next_at = now() where channel_id = ${
    uuid(made.id)
  }`;
  await settle();
  assertEquals(messengers.emails.length, 1);
  const log = await (await user.fetch(`/webhook_deliveries?notification_channel_id=${made.id}`)).json();
  assertEquals([log.data.length, log.data[0].channel, log.data[0].status], [1, "email", "delivered"]);
  const shown = await (await user.fetch(`/webhook_deliveries/${log.data[0].id}`)).text();
  assert(!shown.includes(messengers.key), "the key is not in the log");
});

Deno.test("Slack is told, and its URL is neither stored in the open, nor logged, nor shown", async () => {
  const user = await tunebase.user();
  const response = await addChannel(user, {
    kind: "slack",
    target: messengers.slackUrl,
    event_types: ["fine_tuning.job.failed"],
  });
  const made = await response.json();
  const secret = messengers.slackUrl.split("/services/")[1] ?? "";
  assert(!JSON.stringify(made).includes(secret) && made.target.endsWith(messengers.slackUrl.slice(-4)));
  const id = await runningJob(user);
  await fail(id);
  messengers.slack.length = 0;
  await settle();
  assertEquals(messengers.slack.length, 1);
  assertStringIncludes(messengers.slack[0] ?? "", "ran out of memory &lt;here&gt;");
  const tested = await (await user.fetch(`/notification_channels/${made.id}/test`, { method: "POST" }))
    .json();
  assertEquals([tested.status_code, tested.success], [200, true]);
  for (
    const { name } of await sql`
    select format('%I.%I', table_schema, table_name) as name from information_schema.tables
    where table_schema in ('public', 'tunebase') and table_type = 'BASE TABLE'`
  ) {
    const found = await sql.unsafe(`select 1 from ${name} x where strpos(x::text, $1) > 0`, [secret]);
    assertEquals(found.length, 0, name);
  }
});

Deno.test("channels are listed, changed, deleted, and closed to other projects", async () => {
  const user = await tunebase.user();
  const bob = await tunebase.user();
  const made = await (await addChannel(user, {
    kind: "email",
    target: "ada@example.com",
    event_types: ["fine_tuning.job.failed"],
  })).json();
  assertEquals((await (await user.fetch("/notification_channels")).json()).data, [made]);
  const post = (who: TestUser, body: unknown) =>
    who.fetch(`/notification_channels/${made.id}`, { method: "POST", body: JSON.stringify(body) });
  assertEquals((await (await post(user, { enabled: false })).json()).enabled, false);
  messengers.emails.length = 0;
  await fail(await runningJob(user));
  await settle();
  assertEquals(messengers.emails.length, 0);
  assertEquals(
    (await (await post(user, { enabled: true, event_types: ["fine_tuning.job.paused"] })).json()).event_types,
    ["fine_tuning.job.paused"],
  );
  for (const [method, path] of [["POST", ""], ["DELETE", ""], ["POST", "/test"]]) {
    const response = await bob.fetch(`/notification_channels/${made.id}${path}`, { method: method ?? "" });
    await response.body?.cancel();
    assertEquals(response.status, 404);
  }
  assertEquals((await (await bob.fetch("/notification_channels")).json()).data, []);
  assertEquals(
    (await (await user.fetch(`/notification_channels/${made.id}`, { method: "DELETE" })).json()).deleted,
    true,
  );
  assertEquals((await (await user.fetch("/notification_channels")).json()).data, []);
});

Deno.test("a wrong channel is refused, and Slack's URL is not repeated", async () => {
  const user = await tunebase.user();
  for (
    const [body, param] of [
      [{ kind: "pigeon", target: "x" }, "kind"],
      [{ kind: "email", target: "nobody" }, "target"],
      [{ kind: "slack", target: "https://evil.example.com/services/secret-part" }, "target"],
      [{ kind: "slack", target: "https://10.0.0.1/services/secret-part" }, "target"],
      [
        { kind: "email", target: "a@example.com", event_types: ["fine_tuning.job.progress"] },
        "event_types.0",
      ],
    ] as const
  ) {
    const response = await addChannel(user, body);
    const text = await response.text();
    assertEquals([response.status, JSON.parse(text).error.param], [400, param]);
    assert(!text.includes("secret-part"), text);
  }
});

Deno.test("a Realtime hint goes to the job's private topic where Realtime is, and its failure is only a warning", async () => {
  const user = await tunebase.user();
  // Stands for Supabase Realtime's function: same name, same arguments; it keeps what it is given.
  await sql`create schema realtime`;
  await sql`create table realtime.sent (payload jsonb, event text, topic text, private boolean)`;
  await sql`
    create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
    language sql as 'insert into realtime.sent values ($1, $2, $3, $4)'`;
  const id = await runningJob(user);
  const name = `ftjob-${id.replaceAll("-", "")}`;
  const sent = () => sql`select * from realtime.sent where topic = ${`job:${name}`}`;
  const started = (await sent()).at(-1);
  assertEquals([started?.event, started?.private, started?.payload.id, started?.payload.status], [
    "job",
    true,
    name,
    "running",
  ]);
  await sql`update public.jobs set last_event = last_event + 1 where id = ${id}`;
  assertEquals((await sent()).at(-1)?.payload.last_event, (started?.payload.last_event ?? 0) + 1);
  const before = (await sent()).length;
  await report(id, 33);
  assertEquals((await sent()).length, before, "what adds no event is no news");

  await sql`alter table realtime.sent rename to gone`;
  await fail(id);
  assertEquals((await sql`select status from public.jobs where id = ${id}`)[0]?.status, "failed");
  await sql`drop schema realtime cascade`;
  assert((await owed(id)).includes("failed"));
});

Deno.test("the log is deleted after 30 days and events two days after they were sent; what is pending stays", async () => {
  const user = await tunebase.user();
  await endpoint(user, ["fine_tuning.job.created"]);
  for (let i = 0; i < 3; i++) await createJob(user);
  await sql`select tunebase.fan_out(1000)`;
  const of = () =>
    sql`select status, reason from public.webhook_deliveries where project_id = ${user.projectId} order by id`;
  const [first, second, third] =
    await sql`select id from public.webhook_deliveries where project_id = ${user.projectId} order by id`;
  const old = sql`now() - interval '31 days'`;
  await sql`update public.webhook_deliveries set status = 'dead', reason = 'old', next_at = null, created_at = ${old} where id = ${first?.id}`;
  await sql`update public.webhook_deliveries set status = 'dead', reason = 'young', next_at = null where id = ${second?.id}`;
  await sql`update public.webhook_deliveries set created_at = ${old}, next_at = now() + interval '1 hour' where id = ${third?.id}`;
  await sql`update tunebase.outbox set fanned_out_at = now() - interval '3 days' where project_id = ${user.projectId}`;
  const id = await runningJob(user);
  await sql`update tunebase.outbox set created_at = now() - interval '40 days', due_at = now() + interval '1 hour'
    where job_id = ${id} and fanned_out_at is null`;
  await sql`select tunebase.prune_notifications(1000)`;
  assertEquals((await of()).map(({ status, reason }) => reason ?? status), ["young", "pending"]);
  assertEquals(
    (await sql`select distinct job_id from tunebase.outbox where project_id = ${user.projectId}`).map((row) =>
      row.job_id
    ),
    [id],
  );
});
