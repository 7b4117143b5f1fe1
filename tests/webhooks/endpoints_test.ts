import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { webhookSecret } from "../../supabase/functions/_shared/secrets.ts";
import { eventTypes } from "../../supabase/functions/_shared/contracts/event_types.ts";
import { WebhookReceiver } from "../support/webhook_receiver.ts";
import { subscribers, types, uuid, verified } from "../support/subscribers.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
const receiver = new WebhookReceiver();
Deno.test.afterAll(async () => {
  await receiver.close();
  await tunebase.close();
});
const { sql } = tunebase;
const { cancelledJob, deliveryOf, settle, withEndpoint } = subscribers(tunebase, receiver);

Deno.test("event types match in SQL, TypeScript and the API", async () => {
  const user = await tunebase.user();
  const [row] = await sql`select tunebase_internal.event_types() as types`;
  assertEquals(row?.types, [...eventTypes]);
  const listed = await user.openai.webhooks.eventTypes.list();
  assertEquals(listed, { object: "list", data: [...eventTypes] });
});

Deno.test("the official SDK can create, read, update, list and delete endpoints", async () => {
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
  await sql`update tunebase.webhook_endpoints set updated_at = now() - interval '1 hour' where id = ${
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

Deno.test("rejects an invalid endpoint with the field and value", async () => {
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

Deno.test("an SDK retry of a create or rotation has no second effect", async () => {
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

Deno.test("a delivery is an OpenAI event that npm's standardwebhooks and openai verify", async () => {
  const { user, path, secret, endpoint } = await withEndpoint();
  const job = await cancelledJob(user);
  await settle();
  const [got, more] = receiver.at(path);
  assert(got !== undefined && more === undefined);
  verified(secret, got);
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

Deno.test("PyPI's standardwebhooks and openai verify a delivery, and openai can manage endpoints", async () => {
  const { user: owner, path, secret } = await withEndpoint();
  await cancelledJob(owner);
  await settle();
  const [got] = receiver.at(path);
  const user = await tunebase.user();
  const { success, stdout, stderr } = await new Deno.Command("trainer/.venv/bin/python", {
    args: [
      "tests/webhooks/openai_webhooks.py",
      `${tunebase.url}/functions/v1/tunebase`,
      user.apiKey,
      `${receiver.url}/python`,
      JSON.stringify({ secret, ...got }),
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
    standardwebhooks: "fine_tuning.job.cancelled",
    openai: "FineTuningJobCancelledWebhookEvent",
    forged: "refused",
  });
});

Deno.test("rotation without overlap uses only the new secret; with overlap, both sign for 24 hours", async () => {
  const { user, path, secret, endpoint } = await withEndpoint();
  const rotated = await user.openai.webhooks.rotateSecret(endpoint.id, {
    keep_old_secret_active_for_24_hours: true,
  });
  assert(rotated.signing_secret !== secret);
  await cancelledJob(user);
  await settle();
  const both = receiver.at(path).at(-1);
  assert(both !== undefined);
  verified(secret, both);
  verified(rotated.signing_secret, both);
  await user.openai.webhooks.unwrap(both.body, both.headers, secret);
  await user.openai.webhooks.unwrap(both.body, both.headers, rotated.signing_secret);

  await sql`update tunebase.webhook_endpoints set old_secret_until = now() - interval '1 second' where id = ${
    uuid(endpoint.id)
  }`;
  await cancelledJob(user);
  await settle();
  const after = receiver.at(path).at(-1);
  assert(after !== undefined && after !== both);
  verified(rotated.signing_secret, after);
  await assertRejects(() => Promise.resolve().then(() => verified(secret, after)));

  // The SDK allows a null body.
  const alone = await user.openai.webhooks.rotateSecret(endpoint.id, null);
  await cancelledJob(user);
  await settle();
  const last = receiver.at(path).at(-1);
  assert(last !== undefined && last !== after);
  verified(alone.signing_secret, last);
  await assertRejects(() => Promise.resolve().then(() => verified(rotated.signing_secret, last)));
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

Deno.test("a test event is sent immediately and returns OpenAI's response", async () => {
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
  await sql`update tunebase.webhook_endpoints set url = 'http://127.0.0.1:1/' where id = ${
    uuid(endpoint.id)
  }`;
  const failure = await assertRejects(() =>
    user.openai.webhooks.test(endpoint.id, { event_type: "fine_tuning.job.failed" })
  );
  assert(
    failure instanceof OpenAI.BadRequestError && failure.code === "receiver_unreachable",
    String(failure),
  );
  await sql`update tunebase.webhook_endpoints set url = 'https://10.0.0.1/' where id = ${uuid(endpoint.id)}`;
  const refused = await assertRejects(() =>
    user.openai.webhooks.test(endpoint.id, { event_type: "fine_tuning.job.failed" })
  );
  assertStringIncludes(String(refused), "private or reserved");
});

Deno.test("resources of another project return 404", async () => {
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

Deno.test("keys need the webhook scopes, and viewers can only read", async () => {
  const { user, endpoint } = await withEndpoint();
  await sql`update tunebase.api_keys set scopes = '{webhooks:read}' where project_id = ${user.projectId}`;
  assertEquals((await user.fetch("/webhook_endpoints")).status, 200);
  assertEquals(
    (await user.fetch(`/webhook_endpoints/${endpoint.id}/rotate_secret`, { method: "POST" })).status,
    403,
  );
  await sql`update tunebase.api_keys set scopes = '{jobs:write}' where project_id = ${user.projectId}`;
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
  assertEquals((await fetch(`${tunebase.url}/functions/v1/tunebase/webhook_endpoints`)).status, 401);
});

Deno.test("secrets differ by endpoint and version and derive from the master key alone", async () => {
  const { endpoint, secret } = await withEndpoint();
  assertEquals(await webhookSecret(tunebase.keys.masterKey, uuid(endpoint.id), 1), secret);
  const others = await Promise.all([
    webhookSecret(tunebase.keys.masterKey, uuid(endpoint.id), 2),
    webhookSecret(tunebase.keys.masterKey, crypto.randomUUID(), 1),
    webhookSecret(btoa("x".repeat(32)), uuid(endpoint.id), 1),
  ]);
  assertEquals(new Set([secret, ...others]).size, 4);
});
