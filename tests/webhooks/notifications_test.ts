import { assert, assertEquals, assertStringIncludes } from "#assert";
import { FakeNotifiers } from "../support/fake_notifiers.ts";
import { subscribers, uuid } from "../support/subscribers.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const notifiers = new FakeNotifiers("re_test");
const tunebase = await startTunebase({
  RESEND_API_URL: notifiers.receiver.url,
  RESEND_API_KEY: notifiers.key,
  TUNEBASE_EMAIL_FROM: "Tunebase <tunebase@example.com>",
  TUNEBASE_DASHBOARD_URL: "https://tune.example.com/",
});
Deno.test.afterAll(async () => {
  await notifiers.receiver.close();
  await tunebase.close();
});
const { sql } = tunebase;
const { fail, runningJob, settle } = subscribers(tunebase, notifiers.receiver);

const addChannel = (user: TestUser, body: unknown) =>
  user.fetch("/notification_channels", { method: "POST", body: JSON.stringify(body) });

Deno.test("important events appear as notifications, with read marks per member", async () => {
  const user = await tunebase.user();
  const other = await tunebase.user();
  await sql`insert into tunebase.project_members (project_id, user_id, role) values (${user.projectId}, ${other.id}, 'viewer')`;
  const [failed, done] = [await runningJob(user), await runningJob(user)];
  await fail(failed);
  await sql`update tunebase.jobs set status = 'succeeded', progress = 100, finished_at = now(), fine_tuned_model = 'ft:mine' where id = ${done}`;
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

// @proves others-failure-email
Deno.test("a failure email contains the error, hint and link, and is sent once despite retries", async () => {
  const user = await tunebase.user("ada@example.com");
  const made = await (await addChannel(user, { kind: "email", target: "ada@example.com" })).json();
  assert(made.id.startsWith("nch_"));
  const id = await runningJob(user);
  await fail(id);
  notifiers.emails.length = 0;
  await settle();
  assertEquals(notifiers.emails.length, 1);
  const [mail] = notifiers.emails;
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
  // The scheduler crashed before it recorded the response: Resend has the key.
  await sql`update tunebase.webhook_deliveries set status = 'pending', delivered_at = null, next_at = now() where channel_id = ${
    uuid(made.id)
  }`;
  await settle();
  assertEquals(notifiers.emails.length, 1);
  const log = await (await user.fetch(`/webhook_deliveries?notification_channel_id=${made.id}`)).json();
  assertEquals([log.data.length, log.data[0].channel, log.data[0].status], [1, "email", "delivered"]);
  const shown = await (await user.fetch(`/webhook_deliveries/${log.data[0].id}`)).text();
  assert(!shown.includes(notifiers.key), "the key is not in the log");
});

Deno.test("Slack receives a message, and its URL is never stored in plaintext, logged or shown", async () => {
  const user = await tunebase.user();
  const response = await addChannel(user, {
    kind: "slack",
    target: notifiers.slackUrl,
    event_types: ["fine_tuning.job.failed"],
  });
  const made = await response.json();
  const secret = notifiers.slackUrl.split("/services/")[1] ?? "";
  assert(!JSON.stringify(made).includes(secret) && made.target.endsWith(notifiers.slackUrl.slice(-4)));
  const id = await runningJob(user);
  await fail(id);
  notifiers.slack.length = 0;
  await settle();
  assertEquals(notifiers.slack.length, 1);
  assertStringIncludes(notifiers.slack[0] ?? "", "ran out of memory &lt;here&gt;");
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

Deno.test("channels can be listed, updated and deleted by their project only", async () => {
  const user = await tunebase.user("ada.too@example.com");
  const bob = await tunebase.user();
  const made = await (await addChannel(user, {
    kind: "email",
    target: "ada.too@example.com",
    event_types: ["fine_tuning.job.failed"],
  })).json();
  assertEquals((await (await user.fetch("/notification_channels")).json()).data, [made]);
  const post = (who: TestUser, body: unknown) =>
    who.fetch(`/notification_channels/${made.id}`, { method: "POST", body: JSON.stringify(body) });
  assertEquals((await (await post(user, { enabled: false })).json()).enabled, false);
  notifiers.emails.length = 0;
  await fail(await runningJob(user));
  await settle();
  assertEquals(notifiers.emails.length, 0);
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

Deno.test("rejects an invalid channel without repeating Slack's URL", async () => {
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

Deno.test("email goes only to confirmed addresses of members", async () => {
  const user = await tunebase.user("owner@example.com");
  const guest = await tunebase.user("guest@example.com");
  const refused = async (target: string) => {
    const response = await addChannel(user, { kind: "email", target });
    return [response.status, (await response.json()).error.code];
  };
  assertEquals(await refused("victim@elsewhere.example"), [400, "email_not_member"]);
  assertEquals(
    await refused("guest@example.com"),
    [400, "email_not_member"],
    "a user, but of another project",
  );
  await sql`insert into tunebase.project_members (project_id, user_id, role) values (${user.projectId}, ${guest.id}, 'viewer')`;
  await sql`update auth.users set email_confirmed_at = null where id = ${guest.id}`;
  assertEquals(await refused("guest@example.com"), [400, "email_not_member"], "not confirmed");
  await sql`update auth.users set email_confirmed_at = now() where id = ${guest.id}`;
  const made = await (await addChannel(user, { kind: "email", target: "Guest@example.com" })).json();

  notifiers.emails.length = 0;
  await fail(await runningJob(user));
  await settle();
  assertEquals(notifiers.emails.length, 1);
  // The user changes their address: the channel's address is no longer theirs.
  await sql`update auth.users set email = 'moved@example.com' where id = ${guest.id}`;
  await fail(await runningJob(user));
  await settle();
  assertEquals(notifiers.emails.length, 1);
  const test = () => user.fetch(`/notification_channels/${made.id}/test`, { method: "POST" });
  assertEquals((await (await test()).json()).error.code, "email_not_member");
  await sql`update auth.users set email = 'guest@example.com' where id = ${guest.id}`;
  await sql`select tunebase_internal.remove_member(
    jsonb_build_object('user_id', ${user.id}::text), ${user.projectId}, ${guest.id})`;
  const [channel] = (await (await user.fetch("/notification_channels")).json()).data;
  assertEquals([channel.enabled, channel.disabled_reason], [
    false,
    "its address no longer belongs to a project member",
  ]);
});

Deno.test("one address gets at most 5 test emails and 60 emails per hour across channels", async () => {
  const user = await tunebase.user("busy@example.com");
  const add = async () =>
    (await (await addChannel(user, {
      kind: "email",
      target: "busy@example.com",
      event_types: ["fine_tuning.job.failed"],
    })).json()).id;
  notifiers.emails.length = 0;
  let id = await add();
  for (let i = 0; i < 8; i++) {
    const response = await user.fetch(`/notification_channels/${id}/test`, { method: "POST" });
    const body = await response.json();
    if (i < 5) assertEquals(body.success, true);
    else assertEquals([response.status, body.error.code], [429, "email_limit_reached"]);
    // Another channel for the same address shares the count.
    await (await user.fetch(`/notification_channels/${id}`, { method: "DELETE" })).body?.cancel();
    id = await add();
  }
  assertEquals(notifiers.emails.length, 5);

  await sql`update tunebase_internal.email_counts set mails = 59 where address = 'busy@example.com'`;
  await fail(await runningJob(user));
  await fail(await runningJob(user));
  await settle();
  assertEquals(notifiers.emails.length, 6);
  const log = await (await user.fetch(`/webhook_deliveries?notification_channel_id=${id}`)).json();
  const states = log.data.map((
    { status, reason }: { status: string; reason: string | null },
  ) => [status, reason]);
  assertEquals(states.sort(), [["dead", "This address has reached its limit of 60 emails per hour."], [
    "delivered",
    null,
  ]]);
  const dead = log.data.find(({ status }: { status: string }) => status === "dead");
  const replayed = await user.fetch(`/webhook_deliveries/${dead.id}/replay`, { method: "POST" });
  assertEquals((await replayed.json()).error.code, "email_limit_reached");
  assertEquals((await (await user.fetch("/notifications")).json()).data.length, 2, "both are in the list");
});
