import { assert, assertEquals, assertStringIncludes } from "#assert";
import { WebhookReceiver } from "../support/webhook_receiver.ts";
import { subscribers, uuid } from "../support/subscribers.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
const receiver = new WebhookReceiver();
Deno.test.afterAll(async () => {
  await receiver.close();
  await tunebase.close();
});
const { sql } = tunebase;
const { cancelledJob, deliveryOf, due, settle, withEndpoint } = subscribers(tunebase, receiver);

// @proves every-event-delivered, others-webhook-once
Deno.test("retries follow 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h with up to 20 % jitter, then the delivery is dead with a reason", async () => {
  const hours = (n: number) => n * 3600;
  const schedule = [5, 300, 1800, hours(2), hours(5), hours(10), hours(14), hours(20), hours(24)];
  const { user, path, endpoint } = await withEndpoint();
  receiver.answer = (got) => new Response("broken", { status: got.path === path ? 500 : 200 });
  await cancelledJob(user);
  for (const [i, seconds] of schedule.entries()) {
    await settle();
    const row = await deliveryOf(endpoint);
    assertEquals([row.status, row.tries], ["pending", i + 1]);
    assert(row.wait > seconds - 5 && row.wait <= seconds * 1.2, `after try ${i + 1} it waits ${row.wait} s`);
    await due(endpoint);
  }
  await settle();
  const dead = await deliveryOf(endpoint);
  assertEquals([dead.status, dead.tries, dead.next_at], ["dead", 10, null]);
  assertStringIncludes(dead.reason, "All 10 attempts failed");
  assertStringIncludes(dead.reason, "500");
  const got = receiver.at(path);
  assertEquals(got.length, 10);
  assertEquals(new Set(got.map(({ headers }) => headers["webhook-id"])).size, 1, "one id for all tries");
  assertEquals(new Set(got.map(({ body }) => body)).size, 1, "one body for all tries");
  const [jitter] =
    await sql`select count(distinct tunebase_internal.webhook_retry_delay(5)) as count from generate_series(1, 20)`;
  assert(Number(jitter?.count) > 10);
});

Deno.test("Retry-After of a 429 or 503 is respected if longer than the schedule", async () => {
  for (const status of [429, 503]) {
    const { user, path, endpoint } = await withEndpoint();
    receiver.answer = (got) =>
      got.path === path ? new Response("", { status, headers: { "retry-after": "900" } }) : new Response("");
    await cancelledJob(user);
    await settle();
    const row = await deliveryOf(endpoint);
    assert(row.wait > 890 && row.wait <= 900, `waits ${row.wait} s`);
    receiver.answer = (got) =>
      got.path === path ? new Response("", { status, headers: { "retry-after": "1" } }) : new Response("");
    await due(endpoint);
    await settle();
    assert((await deliveryOf(endpoint)).wait > 290, "a short one does not hurry the schedule");
  }
});

for (const status of [300, 301, 302, 307, 308, 304, 400, 404, 500]) {
  Deno.test(`a ${status} is a failure, and redirects are not followed`, async () => {
    const { user, path, endpoint } = await withEndpoint();
    receiver.answer = (got) =>
      got.path === path
        ? new Response(null, { status, headers: { location: `${receiver.url}/elsewhere` } })
        : new Response("");
    await cancelledJob(user);
    await settle();
    const row = await deliveryOf(endpoint);
    assertEquals([row.status, row.response_status], ["pending", status]);
    assertEquals(receiver.at("/elsewhere").length, 0);
  });
}

Deno.test("a 410 disables the endpoint, ends its pending deliveries and notifies members", async () => {
  const { user, path, endpoint } = await withEndpoint();
  receiver.answer = (got) => new Response("", { status: got.path === path ? 410 : 200 });
  await cancelledJob(user);
  await settle();
  const now = await (await user.fetch(`/webhook_endpoints/${endpoint.id}`)).json();
  assertEquals([now.enabled, now.disabled_reason], [false, "it responded with 410 Gone"]);
  assertEquals((await deliveryOf(endpoint)).status, "dead");
  await settle();
  const notifications = await (await user.fetch("/notifications")).json();
  const [notice] = notifications.data.filter(({ type }: { type: string }) =>
    type === "webhook_endpoint.disabled"
  );
  assertStringIncludes(notice.title, "hooks");
  assertStringIncludes(notice.text, "410");
  const before = receiver.at(path).length;
  await cancelledJob(user);
  await settle();
  assertEquals(receiver.at(path).length, before, "a disabled endpoint gets nothing");

  receiver.answer = () => new Response("");
  const refused = await user.fetch(`/webhook_endpoints/${endpoint.id}/replay`, {
    method: "POST",
    body: JSON.stringify({ since: 0 }),
  });
  assertEquals([refused.status, (await refused.json()).error.code], [409, "receiver_disabled"]);
  const enabled = await user.fetch(`/webhook_endpoints/${endpoint.id}`, {
    method: "POST",
    body: JSON.stringify({ enabled: true }),
  });
  assertEquals((await enabled.json()).enabled, true);
  await cancelledJob(user);
  await settle();
  assertEquals(receiver.at(path).length, before + 1);
});

Deno.test("only five days of failures without a success or pause disable an endpoint", async () => {
  const failing = async (days: string, lastFailed: string, status: number) => {
    const { user, path, endpoint } = await withEndpoint();
    await sql`insert into tunebase_internal.failing_subscribers values (${
      uuid(endpoint.id)
    }, now() - ${days}::interval, now() - ${lastFailed}::interval)`;
    receiver.answer = (got) => new Response("", { status: got.path === path ? status : 200 });
    await cancelledJob(user);
    await settle();
    const { enabled } = await (await user.fetch(`/webhook_endpoints/${endpoint.id}`)).json();
    const [row] = await sql`
      select extract(epoch from now() - failing_since)::int as age from tunebase_internal.failing_subscribers where target_id = ${
      uuid(endpoint.id)
    }`;
    return { enabled, age: row?.age ?? null };
  };
  assertEquals(await failing("5 days", "1 hour", 500), { enabled: false, age: null });
  const young = await failing("4 days 23 hours", "1 hour", 500);
  assert(young.enabled && young.age > 4 * 86_400);
  assertEquals(await failing("5 days", "1 hour", 200), { enabled: true, age: null });
  const paused = await failing("30 days", "29 days", 500);
  assert(paused.enabled && paused.age < 60, "an old failure and one of today are no five days of failures");
});

// @proves others-webhook-log
Deno.test("a replayed delivery keeps its id, and the log shows each attempt", async () => {
  const { user, path, endpoint } = await withEndpoint();
  receiver.answer = () => new Response("x".repeat(10_000), { status: 200 });
  await cancelledJob(user);
  await settle();
  const listed = await (await user.fetch(`/webhook_deliveries?webhook_endpoint_id=${endpoint.id}`)).json();
  assertEquals([listed.object, listed.data.length, listed.data[0].status], ["list", 1, "delivered"]);
  const replayed = await user.fetch(`/webhook_deliveries/${listed.data[0].id}/replay`, { method: "POST" });
  assertEquals((await replayed.json()).status, "pending");
  receiver.answer = () => new Response("now it fails", { status: 500 });
  await settle();
  const shown = await (await user.fetch(`/webhook_deliveries/${listed.data[0].id}`)).json();
  assertEquals(shown.attempts.map((a: { response: { status: number } }) => a.response.status), [200, 500]);
  assertEquals(shown.attempts[0].response.body.length, 4096);
  assertEquals(shown.attempts[0].request.url, receiver.url + path);
  assertEquals(JSON.parse(shown.attempts[0].request.body).id, shown.event_id);
  assert(shown.attempts[0].duration_ms >= 0);
  const got = receiver.at(path);
  assertEquals([got.length, new Set(got.map(({ headers }) => headers["webhook-id"])).size], [2, 1]);
  assertEquals(got[0]?.body, got[1]?.body);
});

// @proves others-webhook-log
Deno.test("dead deliveries since a given time can be replayed", async () => {
  const { user, path, endpoint } = await withEndpoint();
  await cancelledJob(user);
  await cancelledJob(user);
  await cancelledJob(user);
  await sql`select tunebase_internal.fan_out_events(100)`;
  const rows = await sql`select id from tunebase.webhook_deliveries where endpoint_id = ${
    uuid(endpoint.id)
  } order by id`;
  await sql`
    update tunebase.webhook_deliveries set status = 'dead', next_at = null, reason = 'test', event_created_at = now() - interval '1 hour'
    where endpoint_id = ${uuid(endpoint.id)}`;
  await sql`update tunebase.webhook_deliveries set event_created_at = now() - interval '3 hours' where id = ${
    rows[0]?.id
  }`;
  receiver.answer = () => new Response("");
  const since = Math.floor(Date.now() / 1000) - 7200;
  const response = await user.fetch(`/webhook_endpoints/${endpoint.id}/replay`, {
    method: "POST",
    body: JSON.stringify({ since }),
  });
  assertEquals((await response.json()).replayed, 2);
  await settle();
  assertEquals(receiver.at(path).length, 2);
});

Deno.test("deliveries can be filtered by endpoint, status and type, and paged", async () => {
  const { user, endpoint } = await withEndpoint("fine_tuning.job.created", "fine_tuning.job.cancelled");
  receiver.answer = () => new Response("");
  await cancelledJob(user);
  await cancelledJob(user);
  await settle();
  const list = async (query: string) => await (await user.fetch(`/webhook_deliveries?${query}`)).json();
  assertEquals((await list("")).data.length, 4);
  assertEquals((await list("event_type=fine_tuning.job.created")).data.length, 2);
  assertEquals((await list("status=dead")).data.length, 0);
  assertEquals((await list(`status=delivered&webhook_endpoint_id=${endpoint.id}`)).data.length, 4);
  const first = await list("limit=3");
  assertEquals([first.data.length, first.has_more], [3, true]);
  const rest = await list(`limit=3&after=${first.last_id}`);
  assertEquals([rest.data.length, rest.has_more], [1, false]);
  assertEquals((await user.fetch("/webhook_deliveries?status=lost")).status, 400);
});
