import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import OpenAI from "openai";
import { Webhook } from "standardwebhooks";
import { webhookSecret } from "../supabase/functions/_shared/secrets.ts";
import { eventTypes } from "../supabase/functions/_shared/webhooks.ts";
import { type Received, Receiver } from "./receiver.ts";
import { startTunebase, type TestUser } from "./tunebase.ts";
import { createJob } from "./worker.ts";

const tunebase = await startTunebase();
const receiver = new Receiver();
Deno.test.afterAll(async () => {
  await receiver.close();
  await tunebase.close();
});
const { sql } = tunebase;
await sql`update public.projects set max_running = 1000`;

type Types = OpenAI.Webhooks.WebhookCreateParams["event_types"];
/** Our own types beside OpenAI's: its SDK's type does not name them, its runtime passes them. */
const types = (...names: string[]) => names as unknown as Types;
const uuid = (id: string) =>
  id.replace(/^[a-z]+[-_]/, "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
const count = async (query: PromiseLike<readonly { count?: unknown }[]>) => Number((await query)[0]?.count);

/** A user with an endpoint of their own path. */
async function withEndpoint(...names: string[]) {
  const user = await tunebase.user();
  const path = `/${crypto.randomUUID()}`;
  const endpoint = await user.openai.webhooks.create({
    name: "hooks",
    url: receiver.url + path,
    event_types: types(...(names.length > 0 ? names : ["fine_tuning.job.cancelled"])),
  });
  return { user, path, endpoint, secret: endpoint.signing_secret };
}

/** A job that was created and cancelled: two events. */
async function cancelledJob(user: TestUser) {
  const job = await createJob(user);
  await user.openai.fineTuning.jobs.cancel(job.id);
  return job;
}

/** Ticks until nothing is due or in hand. */
async function settle(): Promise<void> {
  for (let round = 0; round < 200; round++) {
    await tunebase.tick();
    const left = await count(sql`
      select (select count(*) from public.webhook_deliveries
        where status = 'pending' and (next_at <= now() or leased_until > now()))
        + (select count(*) from tunebase.outbox where fanned_out_at is null and due_at <= now()) as count`);
    if (left === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("deliveries do not settle");
}

const deliveryOf = async (endpoint: { id: string }) => {
  const rows = await sql`
    select *, extract(epoch from next_at - now())::float as wait from public.webhook_deliveries
    where endpoint_id = ${uuid(endpoint.id)} order by id desc`;
  const [row] = rows;
  if (row === undefined) throw new Error("there is no delivery");
  return row;
};
const due = (endpoint: { id: string }) =>
  sql`update public.webhook_deliveries set next_at = now() where endpoint_id = ${
    uuid(endpoint.id)
  } and status = 'pending'`;
const signed = (secret: string, { body, headers }: Received) => new Webhook(secret).verify(body, headers);

Deno.test("the event types are the same in SQL, in TypeScript and in the API", async () => {
  const user = await tunebase.user();
  const [row] = await sql`select tunebase.event_types() as types`;
  assertEquals(row?.types, [...eventTypes]);
  const listed = await user.openai.webhooks.eventTypes.list();
  assertEquals(listed, { object: "list", data: [...eventTypes] });
});

Deno.test("the official SDK creates, reads, updates, lists and deletes endpoints", async () => {
  const user = await tunebase.user();
  const made = await user.openai.webhooks.create({
    name: "first",
    url: `${receiver.url}/a`,
    event_types: ["fine_tuning.job.succeeded", "fine_tuning.job.failed"],
  });
  assert(made.id.startsWith("whe_") && made.signing_secret.startsWith("whsec_"));
  assertEquals([made.object, made.name, made.url], ["webhook_endpoint", "first", `${receiver.url}/a`]);
  assertEquals(made.signing_secret_hint, `whsec_…${made.signing_secret.slice(-4)}`);
  const read = await user.openai.webhooks.retrieve(made.id);
  const { signing_secret: _, ...shown } = made;
  assertEquals(read as unknown, shown as unknown, "read again it shows no secret");
  await sql`update public.webhook_endpoints set updated_at = now() - interval '1 hour' where id = ${
    uuid(made.id)
  }`;
  const same = await user.openai.webhooks.update(made.id, { name: "first" });
  assert(
    (same.updated_at ?? 0) < made.created_at,
    "an update that changes nothing does not advance updated_at",
  );
  const updated = await user.openai.webhooks.update(made.id, { event_types: ["fine_tuning.job.cancelled"] });
  assertEquals([updated.name, updated.event_types], ["first", ["fine_tuning.job.cancelled"]]);
  assert((updated.updated_at ?? 0) >= made.created_at);
  const second = await user.openai.webhooks.create({
    name: "b",
    url: `${receiver.url}/b`,
    event_types: types("fine_tuning.job.created"),
  });
  const ids: string[] = [];
  for await (const item of user.openai.webhooks.list({ limit: 1 })) ids.push(item.id);
  assertEquals(ids, [second.id, made.id]);
  assertEquals(await user.openai.webhooks.delete(made.id), {
    id: made.id,
    object: "webhook_endpoint.deleted",
    deleted: true,
  });
  await assertRejects(() => user.openai.webhooks.retrieve(made.id));
});

Deno.test("a wrong endpoint is refused with the field and the value", async () => {
  const user = await tunebase.user();
  const good = { name: "x", url: `${receiver.url}/x`, event_types: ["fine_tuning.job.failed"] };
  for (
    const [changes, param] of [
      [{ url: "https://10.0.0.1/" }, "url"],
      [{ url: "http://example.com/" }, "url"],
      [{ url: "https://u:p@example.com/" }, "url"],
      [{ event_types: ["batch.completed"] }, "event_types.0"],
      [{ event_types: [] }, "event_types"],
      [{ name: "" }, "name"],
      [{ colour: "red" }, "colour"],
      [{ progress_seconds: 0 }, "progress_seconds"],
    ] as const
  ) {
    const response = await user.fetch("/webhook_endpoints", {
      method: "POST",
      body: JSON.stringify({ ...good, ...changes }),
    });
    const body = await response.json();
    assertEquals([response.status, body.error.param], [400, param], JSON.stringify(body));
  }
});

Deno.test("a create or a rotation that the SDK sends again is the same one", async () => {
  const user = await tunebase.user();
  const body = { name: "x", url: `${receiver.url}/x`, event_types: types("fine_tuning.job.failed") };
  const again = { headers: { "x-stainless-retry-count": "1" } };
  const first = await user.openai.webhooks.create(body);
  assertEquals((await user.openai.webhooks.create(body, again)).id, first.id);
  assert((await user.openai.webhooks.create(body)).id !== first.id);
  const rotated = await user.openai.webhooks.rotateSecret(first.id, {
    keep_old_secret_active_for_24_hours: true,
  });
  const repeated = await user.openai.webhooks.rotateSecret(first.id, {
    keep_old_secret_active_for_24_hours: true,
  }, again);
  assertEquals(repeated.signing_secret, rotated.signing_secret);
});

Deno.test("a delivery is OpenAI's event, and npm's standardwebhooks and openai verify it", async () => {
  const { user, path, secret, endpoint } = await withEndpoint();
  const job = await cancelledJob(user);
  await settle();
  const [got, more] = receiver.at(path);
  assert(got !== undefined && more === undefined);
  signed(secret, got);
  const event = await user.openai.webhooks.unwrap(got.body, got.headers, secret);
  assert(event.type === "fine_tuning.job.cancelled" && event.object === "event");
  assertEquals(event.data.id, job.id);
  assertEquals(got.headers["webhook-id"], event.id);
  assert(event.id.startsWith("evt_") && Math.abs(event.created_at - Date.now() / 1000) < 60);
  const data = event.data as unknown as Record<string, unknown>;
  assertEquals([data.status, data.model], ["cancelled", "SmolLM2-135M-Instruct"]);
  assertEquals(got.headers["content-type"], "application/json");
  await assertRejects(() => user.openai.webhooks.unwrap(got.body + " ", got.headers, secret));
  await assertRejects(() =>
    user.openai.webhooks.verifySignature(
      got.body,
      got.headers,
      (endpoint.signing_secret.slice(0, -4)) + "AAA=",
    )
  );
  assertEquals((await deliveryOf(endpoint)).status, "delivered");
});

Deno.test("PyPI's standardwebhooks and openai verify it too", async () => {
  const { user, path, secret } = await withEndpoint();
  await cancelledJob(user);
  await settle();
  const [got] = receiver.at(path);
  const { success, stdout, stderr } = await new Deno.Command("trainer/.venv/bin/python", {
    args: ["tests/verify_webhook.py", JSON.stringify({ secret, ...got })],
  }).output();
  const text = new TextDecoder();
  assert(success, text.decode(stderr));
  assertEquals(JSON.parse(text.decode(stdout)), {
    standardwebhooks: "fine_tuning.job.cancelled",
    openai: "FineTuningJobCancelledWebhookEvent",
    forged: "refused",
  });
});

Deno.test("Python's official SDK manages endpoints unchanged", async () => {
  const user = await tunebase.user();
  const { success, stdout, stderr } = await new Deno.Command("trainer/.venv/bin/python", {
    args: [
      "tests/openai_webhooks.py",
      `${tunebase.url}/functions/v1/api`,
      user.apiKey,
      `${receiver.url}/python`,
    ],
  }).output();
  const text = new TextDecoder();
  assert(success, text.decode(stderr));
  assertEquals(JSON.parse(text.decode(stdout)), {
    types: eventTypes.length,
    created: true,
    renamed: "renamed",
    listed: 1,
    rotated: true,
    tested: 200,
    deleted: true,
  });
});

Deno.test("rotation: without the overlap only the new secret signs, with it both do for 24 hours", async () => {
  const { user, path, secret, endpoint } = await withEndpoint();
  const rotated = await user.openai.webhooks.rotateSecret(endpoint.id, {
    keep_old_secret_active_for_24_hours: true,
  });
  assert(rotated.signing_secret !== secret);
  await cancelledJob(user);
  await settle();
  const both = receiver.at(path).at(-1);
  assert(both !== undefined);
  signed(secret, both);
  signed(rotated.signing_secret, both);
  await user.openai.webhooks.unwrap(both.body, both.headers, secret);
  await user.openai.webhooks.unwrap(both.body, both.headers, rotated.signing_secret);

  await sql`update public.webhook_endpoints set old_secret_until = now() - interval '1 second' where id = ${
    uuid(endpoint.id)
  }`;
  await cancelledJob(user);
  await settle();
  const after = receiver.at(path).at(-1);
  assert(after !== undefined && after !== both);
  signed(rotated.signing_secret, after);
  await assertRejects(() => Promise.resolve().then(() => signed(secret, after)));

  // The SDK lets its body be null.
  const alone = await user.openai.webhooks.rotateSecret(endpoint.id, null);
  await cancelledJob(user);
  await settle();
  const last = receiver.at(path).at(-1);
  assert(last !== undefined && last !== after);
  signed(alone.signing_secret, last);
  await assertRejects(() => Promise.resolve().then(() => signed(rotated.signing_secret, last)));
});

Deno.test("no secret is stored or logged", async () => {
  const { user, path, secret, endpoint } = await withEndpoint();
  await cancelledJob(user);
  await settle();
  const got = receiver.at(path).at(-1);
  const signature = got?.headers["webhook-signature"]?.split(",")[1] ?? "missing";
  const tables = await sql`
    select format('%I.%I', table_schema, table_name) as name from information_schema.tables
    where table_schema in ('public', 'tunebase') and table_type = 'BASE TABLE'`;
  for (const { name } of tables) {
    for (const hidden of [secret, secret.slice("whsec_".length), signature]) {
      const found = await sql.unsafe(`select 1 from ${name} x where strpos(x::text, $1) > 0`, [hidden]);
      assertEquals(found.length, 0, `${name} holds ${hidden === signature ? "a signature" : "a secret"}`);
    }
  }
  const delivery = await deliveryOf(endpoint);
  const log = await (await user.fetch(`/webhook_deliveries/whd_${delivery.id.replaceAll("-", "")}`)).text();
  assert(!log.includes(signature) && !log.includes("webhook-signature") && log.includes("webhook-id"));
});

Deno.test("the schedule is 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h with up to a fifth of jitter, then dead with a reason", async () => {
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
  assertStringIncludes(dead.reason, "10 tries");
  assertStringIncludes(dead.reason, "500");
  const got = receiver.at(path);
  assertEquals(got.length, 10);
  assertEquals(new Set(got.map(({ headers }) => headers["webhook-id"])).size, 1, "one id for all tries");
  assertEquals(new Set(got.map(({ body }) => body)).size, 1, "one body for all tries");
  const [jitter] =
    await sql`select count(distinct tunebase.retry_delay(5)) as count from generate_series(1, 20)`;
  assert(Number(jitter?.count) > 10);
});

Deno.test("Retry-After of a 429 and a 503 is waited for, when it is longer than the schedule", async () => {
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
  Deno.test(`a ${status} is a failure, and nothing is followed`, async () => {
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

Deno.test("410 disables the endpoint at once, ends what was pending there, and tells the people", async () => {
  const { user, path, endpoint } = await withEndpoint();
  receiver.answer = (got) => new Response("", { status: got.path === path ? 410 : 200 });
  await cancelledJob(user);
  await settle();
  const now = await (await user.fetch(`/webhook_endpoints/${endpoint.id}`)).json();
  assertEquals([now.enabled, now.disabled_reason], [false, "it answered 410 Gone"]);
  assertEquals((await deliveryOf(endpoint)).status, "dead");
  await settle();
  const told = await (await user.fetch("/notifications")).json();
  const [notice] = told.data.filter(({ type }: { type: string }) => type === "webhook_endpoint.disabled");
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

Deno.test("five days of failures only disable it; one success between them, or a pause, does not", async () => {
  const failing = async (days: string, lastFailed: string, status: number) => {
    const { user, path, endpoint } = await withEndpoint();
    await sql`insert into tunebase.failing_targets values (${
      uuid(endpoint.id)
    }, now() - ${days}::interval, now() - ${lastFailed}::interval)`;
    receiver.answer = (got) => new Response("", { status: got.path === path ? status : 200 });
    await cancelledJob(user);
    await settle();
    const { enabled } = await (await user.fetch(`/webhook_endpoints/${endpoint.id}`)).json();
    const [row] = await sql`
      select extract(epoch from now() - failing_since)::int as age from tunebase.failing_targets where target_id = ${
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

Deno.test("one delivery is replayed with the same id, and the log shows each try", async () => {
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

Deno.test("all that has died since a time is replayed, and nothing older", async () => {
  const { user, path, endpoint } = await withEndpoint();
  await cancelledJob(user);
  await cancelledJob(user);
  await cancelledJob(user);
  await sql`select tunebase.fan_out(100)`;
  const rows = await sql`select id from public.webhook_deliveries where endpoint_id = ${
    uuid(endpoint.id)
  } order by id`;
  await sql`
    update public.webhook_deliveries set status = 'dead', next_at = null, reason = 'test', event_created_at = now() - interval '1 hour'
    where endpoint_id = ${uuid(endpoint.id)}`;
  await sql`update public.webhook_deliveries set event_created_at = now() - interval '3 hours' where id = ${
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

Deno.test("deliveries are filtered by endpoint, status and type, page by page", async () => {
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

Deno.test("a test event goes out at once, and its answer is OpenAI's", async () => {
  const { user, path, secret, endpoint } = await withEndpoint();
  receiver.answer = () => new Response("", { status: 202 });
  const result = await user.openai.webhooks.test(endpoint.id, { event_type: "fine_tuning.job.succeeded" });
  assertEquals(result, {
    object: "webhook_endpoint.test",
    webhook_endpoint_id: endpoint.id,
    event_type: "fine_tuning.job.succeeded",
    status_code: 202,
    success: true,
  });
  const [got] = receiver.at(path);
  assert(got !== undefined);
  const event = await user.openai.webhooks.unwrap(got.body, got.headers, secret);
  assertEquals(event.type, "fine_tuning.job.succeeded");
  receiver.answer = () => new Response("", { status: 500 });
  assertEquals(
    (await user.openai.webhooks.test(endpoint.id, { event_type: "fine_tuning.job.failed" })).status_code,
    500,
  );
  await sql`update public.webhook_endpoints set url = 'http://127.0.0.1:1/' where id = ${uuid(endpoint.id)}`;
  const failure = await assertRejects(() =>
    user.openai.webhooks.test(endpoint.id, { event_type: "fine_tuning.job.failed" })
  );
  assert(
    failure instanceof OpenAI.BadRequestError && failure.code === "receiver_unreachable",
    String(failure),
  );
  await sql`update public.webhook_endpoints set url = 'https://10.0.0.1/' where id = ${uuid(endpoint.id)}`;
  const refused = await assertRejects(() =>
    user.openai.webhooks.test(endpoint.id, { event_type: "fine_tuning.job.failed" })
  );
  assertStringIncludes(String(refused), "private or reserved");
});

Deno.test("fanning out twice, or from two schedulers at once, owes each event once", async () => {
  const { user, endpoint } = await withEndpoint();
  for (let i = 0; i < 5; i++) await cancelledJob(user);
  await Promise.all([1, 2, 3, 4].map(() => sql`select tunebase.fan_out(100)`));
  const of = sql`select count(*) from public.webhook_deliveries where endpoint_id = ${uuid(endpoint.id)}`;
  assertEquals(await count(of), 5);
  await sql`update tunebase.outbox set fanned_out_at = null`;
  await sql`select tunebase.fan_out(1000)`;
  assertEquals(
    await count(sql`select count(*) from public.webhook_deliveries where endpoint_id = ${uuid(endpoint.id)}`),
    5,
  );
  assertEquals(
    await count(sql`select count(*) from public.notifications where project_id = ${user.projectId}`),
    5,
  );
  receiver.answer = () => new Response("");
  await settle();
});

Deno.test("several ticks at once send each delivery once", async () => {
  const { user, path } = await withEndpoint();
  for (let i = 0; i < 20; i++) await cancelledJob(user);
  await Promise.all([1, 2, 3, 4].map(() => tunebase.tick()));
  await settle();
  assertEquals(receiver.at(path).length, 20);
});

Deno.test("a crash between send and record sends again with the same id, and a late result changes nothing", async () => {
  await sql`delete from public.webhook_deliveries where status = 'pending'`; // what other tests left to be tried again
  const { user, path, endpoint } = await withEndpoint();
  await cancelledJob(user);
  await sql`select tunebase.fan_out(100)`;
  // A scheduler that claims, sends, and dies before it records.
  const [row] = await sql`select tunebase.claim_deliveries(10, 10, '{}', 60) as claimed`;
  const [claimed] = row?.claimed ?? [];
  const id = `evt_${claimed.event_id.replaceAll("-", "")}`;
  await (await fetch(receiver.url + path, {
    method: "POST",
    headers: { "webhook-id": id },
    body: claimed.body,
  })).text();
  await tunebase.tick();
  assertEquals(receiver.at(path).length, 1, "while the lease is fresh nobody else sends it");
  await sql`update public.webhook_deliveries set next_at = now(), leased_until = now() where id = ${claimed.id}`;
  await settle();
  const got = receiver.at(path);
  assertEquals(got.map(({ headers }) => headers["webhook-id"]), [id, id]);
  assertEquals((await deliveryOf(endpoint)).status, "delivered");
  const late = {
    id: claimed.id,
    lease: claimed.lease,
    ok: false,
    status: 500,
    url: "x",
    headers: {},
    duration_ms: 1,
  };
  await sql`select tunebase.record_deliveries(${JSON.stringify([late])}::text::jsonb)`;
  assertEquals((await deliveryOf(endpoint)).status, "delivered");
});

Deno.test("a delivery that kills its scheduler every time ends as dead, and says so", async () => {
  const { user, endpoint } = await withEndpoint();
  await cancelledJob(user);
  await sql`select tunebase.fan_out(100)`;
  await sql`update public.webhook_deliveries set tries = 10 where endpoint_id = ${uuid(endpoint.id)}`;
  await settle();
  const row = await deliveryOf(endpoint);
  assertEquals(row.status, "dead");
  assertStringIncludes(row.reason, "never recorded");
});

Deno.test("a result that the database does not take spoils no other", async () => {
  const [first, second] = [await withEndpoint(), await withEndpoint()];
  await sql.unsafe(
    `alter table public.webhook_attempts add constraint broken check (url not like '%${first.path}') not valid`,
  );
  await cancelledJob(first.user);
  await cancelledJob(second.user);
  await tunebase.tick();
  for (let i = 0; i < 50 && (await deliveryOf(second.endpoint)).status === "pending"; i++) {
    await new Promise((r) => setTimeout(r, 20));
  }
  assertEquals((await deliveryOf(second.endpoint)).status, "delivered");
  assertEquals((await deliveryOf(first.endpoint)).status, "pending");
  await sql`alter table public.webhook_attempts drop constraint broken`;
  await due(first.endpoint);
  await settle();
  assertEquals((await deliveryOf(first.endpoint)).status, "delivered");
});

Deno.test("a slow receiver delays neither dispatch nor the other receivers", async () => {
  const [slow, fast] = [
    await withEndpoint("fine_tuning.job.cancelled"),
    await withEndpoint("fine_tuning.job.cancelled"),
  ];
  const hold = Promise.withResolvers<void>();
  receiver.answer = async (got) => {
    if (got.path === slow.path) await hold.promise;
    return new Response("");
  };
  for (let i = 0; i < 60; i++) await cancelledJob(slow.user);
  await cancelledJob(fast.user);
  const job = await createJob(fast.user);
  const begin = performance.now();
  const { dispatched } = await tunebase.tick();
  const took = performance.now() - begin;
  assertEquals(dispatched, 1);
  assert(took < 3000, `the tick took ${Math.round(took)} ms`);
  const [attempt] = await sql`select state from public.attempts where job_id = ${uuid(job.id)}`;
  assertEquals(attempt?.state, "submitted");
  assertEquals(receiver.at(fast.path).length, 1, "the other receiver has its event");
  assert(receiver.at(slow.path).length <= 48, "the slow one has its places and no more");
  // The next tick does not wait for the first one's receivers either, and new events go out.
  await cancelledJob(fast.user);
  await tunebase.tick();
  for (let i = 0; i < 50 && receiver.at(fast.path).length < 2; i++) {
    await new Promise((r) => setTimeout(r, 20));
  }
  assertEquals(receiver.at(fast.path).length, 2);
  hold.resolve();
  await settle();
  assertEquals(receiver.at(slow.path).length, 60);
});

Deno.test("a receiver that fails gets four at a time, and one that was never heard of comes first all the same", async () => {
  const [failing, healthy] = [await withEndpoint(), await withEndpoint()];
  await sql`insert into tunebase.failing_targets values (${uuid(failing.endpoint.id)}, now(), now())`;
  for (let i = 0; i < 6; i++) await cancelledJob(failing.user);
  await cancelledJob(healthy.user);
  await sql`select tunebase.fan_out(100)`;
  const claim = async (limit: number, busy = {}) => {
    const [row] = await sql`select tunebase.claim_deliveries(${limit}, 48, ${
      JSON.stringify(busy)
    }::text::jsonb, 60) as claimed`;
    const targets = row?.claimed.map((c: { target_id: string }) => c.target_id);
    await sql`update public.webhook_deliveries set next_at = now(), leased_until = null where status = 'pending' and leased_until > now()`;
    const of = (endpoint: { id: string }) => targets.filter((id: string) => id === uuid(endpoint.id)).length;
    return [of(failing.endpoint), of(healthy.endpoint)];
  };
  await sql`delete from public.webhook_deliveries where status = 'pending'
    and endpoint_id not in (${uuid(failing.endpoint.id)}, ${uuid(healthy.endpoint.id)})`;
  assertEquals(await claim(96), [4, 1]);
  assertEquals(await claim(2), [1, 1], "each receiver's oldest before anybody's second");
  assertEquals(await claim(96, { [uuid(failing.endpoint.id)]: 3 }), [1, 1], "what is in flight counts");
  receiver.answer = () => new Response("");
  await settle();
});

Deno.test("1,000 deliveries to a receiver that answers in 200 ms are sent in 10 seconds", async () => {
  const { user, path, endpoint } = await withEndpoint();
  const job = await cancelledJob(user);
  await settle();
  await sql`
    insert into tunebase.outbox (project_id, job_id, type, data)
    select project_id, id, 'fine_tuning.job.cancelled', tunebase.job_event_data(j)
    from public.jobs j, generate_series(1, 1000) where id = ${uuid(job.id)}`;
  await sql`select tunebase.fan_out(1000)`;
  receiver.answer = () => new Promise((resolve) => setTimeout(() => resolve(new Response("")), 200));
  receiver.mostOpen = 0;
  const begin = performance.now();
  await tunebase.tick();
  const left = () =>
    count(
      sql`select count(*) from public.webhook_deliveries where endpoint_id = ${
        uuid(endpoint.id)
      } and status <> 'delivered'`,
    );
  while (await left() > 0 && performance.now() - begin < 30_000) await new Promise((r) => setTimeout(r, 50));
  const seconds = (performance.now() - begin) / 1000;
  console.log(`1,000 deliveries in ${seconds.toFixed(2)} s, at most ${receiver.mostOpen} at once`);
  assertEquals(receiver.at(path).length, 1001);
  assert(seconds <= 10, `${seconds} s`);
});

Deno.test("what belongs to another project is not there", async () => {
  const { user: ada, endpoint } = await withEndpoint();
  const bob = await tunebase.user();
  receiver.answer = () => new Response("");
  await cancelledJob(ada);
  await settle();
  const delivery = `whd_${(await deliveryOf(endpoint)).id.replaceAll("-", "")}`;
  const [notice] = (await (await ada.fetch("/notifications")).json()).data;
  const tries: [string, string, unknown?][] = [
    ["GET", `/webhook_endpoints/${endpoint.id}`],
    ["POST", `/webhook_endpoints/${endpoint.id}`, { name: "mine" }],
    ["POST", `/webhook_endpoints/${endpoint.id}`, { url: `${receiver.url}/stolen` }],
    ["DELETE", `/webhook_endpoints/${endpoint.id}`],
    ["POST", `/webhook_endpoints/${endpoint.id}/rotate_secret`, {}],
    ["POST", `/webhook_endpoints/${endpoint.id}/test`, { event_type: "fine_tuning.job.failed" }],
    ["POST", `/webhook_endpoints/${endpoint.id}/replay`, { since: 0 }],
    ["GET", `/webhook_deliveries/${delivery}`],
    ["POST", `/webhook_deliveries/${delivery}/replay`],
    ["POST", `/notifications/${notice.id}/read`],
  ];
  for (const [method, path, body] of tries) {
    const response = await bob.fetch(path, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    await response.body?.cancel();
    assertEquals(response.status, 404, `${method} ${path}`);
  }
  for (const path of ["/webhook_endpoints", "/webhook_deliveries", "/notifications"]) {
    assertEquals((await (await bob.fetch(path)).json()).data, [], path);
    assertEquals((await ada.fetch(`${path}/../${path}?after=nonsense`)).status >= 400, true);
  }
  assertEquals((await ada.openai.webhooks.retrieve(endpoint.id)).name, "hooks");
});

Deno.test("a key without the scopes may not, and a viewer may only read", async () => {
  const { user, endpoint } = await withEndpoint();
  await sql`update public.api_keys set scopes = '{webhooks:read}' where project_id = ${user.projectId}`;
  assertEquals((await user.fetch("/webhook_endpoints")).status, 200);
  assertEquals(
    (await user.fetch(`/webhook_endpoints/${endpoint.id}/rotate_secret`, { method: "POST" })).status,
    403,
  );
  await sql`update public.api_keys set scopes = '{jobs:write}' where project_id = ${user.projectId}`;
  for (
    const path of [
      "/webhook_endpoints",
      "/webhook_event_types",
      "/webhook_deliveries",
      "/notification_channels",
    ]
  ) {
    assertEquals((await user.fetch(path)).status, 403, path);
  }
  assertEquals((await fetch(`${tunebase.url}/functions/v1/api/webhook_endpoints`)).status, 401);
});

Deno.test("secrets differ by endpoint and version, and come from the master key alone", async () => {
  const { endpoint, secret } = await withEndpoint();
  assertEquals(await webhookSecret(tunebase.keys.masterKey, uuid(endpoint.id), 1), secret);
  const others = await Promise.all([
    webhookSecret(tunebase.keys.masterKey, uuid(endpoint.id), 2),
    webhookSecret(tunebase.keys.masterKey, crypto.randomUUID(), 1),
    webhookSecret(btoa("x".repeat(32)), uuid(endpoint.id), 1),
  ]);
  assertEquals(new Set([secret, ...others]).size, 4);
});
