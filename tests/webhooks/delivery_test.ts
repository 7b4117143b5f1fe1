import { assert, assertEquals, assertStringIncludes } from "#assert";
import { WebhookReceiver } from "../support/webhook_receiver.ts";
import { subscribers, uuid } from "../support/subscribers.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
const receiver = new WebhookReceiver();
Deno.test.afterAll(async () => {
  await receiver.close();
  await tunebase.close();
});
const { sql } = tunebase;
const { cancelledJob, deliveryOf, due, settle, withEndpoint } = subscribers(tunebase, receiver);
const count = async (query: PromiseLike<readonly { count?: unknown }[]>) => Number((await query)[0]?.count);

Deno.test("repeated or concurrent fan-out enqueues each event once", async () => {
  const { user, endpoint } = await withEndpoint();
  for (let i = 0; i < 5; i++) await cancelledJob(user);
  await Promise.all([1, 2, 3, 4].map(() => sql`select tunebase_internal.fan_out_events(100)`));
  assertEquals(
    await count(
      sql`select count(*) from tunebase.webhook_deliveries where endpoint_id = ${uuid(endpoint.id)}`,
    ),
    5,
  );
  await sql`update tunebase_internal.outbox set fanned_out_at = null`;
  await sql`select tunebase_internal.fan_out_events(1000)`;
  assertEquals(
    await count(
      sql`select count(*) from tunebase.webhook_deliveries where endpoint_id = ${uuid(endpoint.id)}`,
    ),
    5,
  );
  assertEquals(
    await count(sql`select count(*) from tunebase.notifications where project_id = ${user.projectId}`),
    5,
  );
  receiver.answer = () => new Response("");
  await settle();
});

Deno.test("concurrent ticks send each delivery once", async () => {
  const { user, path } = await withEndpoint();
  for (let i = 0; i < 20; i++) await cancelledJob(user);
  await Promise.all([1, 2, 3, 4].map(() => tunebase.tick()));
  await settle();
  assertEquals(receiver.at(path).length, 20);
});

// @proves at-least-once
Deno.test("a crash between send and record resends with the same id, and a late result changes nothing", async () => {
  await sql`delete from tunebase.webhook_deliveries where status = 'pending'`; // retries left by other tests
  const { user, path, endpoint } = await withEndpoint();
  await cancelledJob(user);
  await sql`select tunebase_internal.fan_out_events(100)`;
  // A scheduler that claims, sends, and crashes before recording.
  const [row] = await sql`select tunebase_internal.claim_deliveries(10, 10, '{}', 60) as claimed`;
  const [claimed] = row?.claimed ?? [];
  const id = `evt_${claimed.event_id.replaceAll("-", "")}`;
  await (await fetch(receiver.url + path, {
    method: "POST",
    headers: { "webhook-id": id },
    body: claimed.body,
  })).text();
  await tunebase.tick();
  assertEquals(receiver.at(path).length, 1, "no other tick sends it during the lease");
  await sql`update tunebase.webhook_deliveries set next_at = now(), leased_until = now() where id = ${claimed.id}`;
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
  await sql`select tunebase_internal.record_deliveries(${JSON.stringify([late])}::text::jsonb)`;
  assertEquals((await deliveryOf(endpoint)).status, "delivered");
});

Deno.test("a delivery that always kills its scheduler ends as dead with a reason", async () => {
  const { user, endpoint } = await withEndpoint();
  await cancelledJob(user);
  await sql`select tunebase_internal.fan_out_events(100)`;
  await sql`update tunebase.webhook_deliveries set tries = 10 where endpoint_id = ${uuid(endpoint.id)}`;
  await settle();
  const row = await deliveryOf(endpoint);
  assertEquals(row.status, "dead");
  assertStringIncludes(row.reason, "never recorded");
});

Deno.test("a delivery result that the database rejects does not affect others", async () => {
  const [first, second] = [await withEndpoint(), await withEndpoint()];
  await sql.unsafe(
    `alter table tunebase.webhook_attempts add constraint broken check (url not like '%${first.path}') not valid`,
  );
  await cancelledJob(first.user);
  await cancelledJob(second.user);
  await tunebase.tick();
  for (let i = 0; i < 50 && (await deliveryOf(second.endpoint)).status === "pending"; i++) {
    await new Promise((r) => setTimeout(r, 20));
  }
  assertEquals((await deliveryOf(second.endpoint)).status, "delivered");
  assertEquals((await deliveryOf(first.endpoint)).status, "pending");
  await sql`alter table tunebase.webhook_attempts drop constraint broken`;
  await due(first.endpoint);
  await settle();
  assertEquals((await deliveryOf(first.endpoint)).status, "delivered");
});

/** Adds copies of a job's last event. */
async function repeatEvent(job: { id: string }, copies: number): Promise<void> {
  await sql`
    insert into tunebase_internal.outbox (project_id, job_id, type, data)
    select project_id, id, 'fine_tuning.job.cancelled', tunebase_internal.job_event_data(j)
    from tunebase.jobs j, generate_series(1, ${copies}) where id = ${uuid(job.id)}`;
}

Deno.test("a slow receiver delays neither dispatch nor other receivers", async () => {
  const [slow, fast] = [
    await withEndpoint("fine_tuning.job.cancelled"),
    await withEndpoint("fine_tuning.job.cancelled"),
  ];
  const hold = Promise.withResolvers<void>();
  receiver.answer = async (got) => {
    if (got.path === slow.path) await hold.promise;
    return new Response("");
  };
  await repeatEvent(await cancelledJob(slow.user), 59);
  await cancelledJob(fast.user);
  const job = await createJob(fast.user);
  // It returns while the slow receiver still withholds its responses.
  const { dispatched } = await tunebase.tick();
  assertEquals(dispatched, 1);
  const [attempt] = await sql`select state from tunebase.attempts where job_id = ${uuid(job.id)}`;
  assertEquals(attempt?.state, "submitted");
  assertEquals(receiver.at(fast.path).length, 1, "the other receiver has its event");
  assert(receiver.at(slow.path).length <= 48, "the slow one uses only its slots");
  // The next tick does not wait for those receivers either, and sends new events.
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

Deno.test("a failing receiver gets four deliveries at a time, and new receivers still come first", async () => {
  const [failing, healthy] = [await withEndpoint(), await withEndpoint()];
  await sql`insert into tunebase_internal.failing_subscribers values (${
    uuid(failing.endpoint.id)
  }, now(), now())`;
  for (let i = 0; i < 6; i++) await cancelledJob(failing.user);
  await cancelledJob(healthy.user);
  await sql`select tunebase_internal.fan_out_events(100)`;
  const claim = async (limit: number, busy = {}) => {
    const [row] = await sql`select tunebase_internal.claim_deliveries(${limit}, 48, ${
      JSON.stringify(busy)
    }::text::jsonb, 60) as claimed`;
    const targets = row?.claimed.map((c: { target_id: string }) => c.target_id);
    await sql`update tunebase.webhook_deliveries set next_at = now(), leased_until = null where status = 'pending' and leased_until > now()`;
    const of = (endpoint: { id: string }) => targets.filter((id: string) => id === uuid(endpoint.id)).length;
    return [of(failing.endpoint), of(healthy.endpoint)];
  };
  await sql`delete from tunebase.webhook_deliveries where status = 'pending'
    and endpoint_id not in (${uuid(failing.endpoint.id)}, ${uuid(healthy.endpoint.id)})`;
  assertEquals(await claim(96), [4, 1]);
  assertEquals(await claim(2), [1, 1], "the oldest delivery of each receiver before the second of any");
  assertEquals(await claim(96, { [uuid(failing.endpoint.id)]: 3 }), [1, 1], "what is in flight counts");
  receiver.answer = () => new Response("");
  await settle();
});

Deno.test("1,000 deliveries due at once are sent concurrently, each once", async () => {
  const { user, path, endpoint } = await withEndpoint();
  const job = await cancelledJob(user);
  await settle();
  await repeatEvent(job, 1000);
  await sql`select tunebase_internal.fan_out_events(1000)`;
  receiver.answer = () => new Promise((resolve) => setTimeout(() => resolve(new Response("")), 200));
  receiver.maxOpen = 0;
  await tunebase.tick();
  const left = () =>
    count(
      sql`select count(*) from tunebase.webhook_deliveries where endpoint_id = ${
        uuid(endpoint.id)
      } and status <> 'delivered'`,
    );
  // A tick sends what its CPU budget allows, and wakes the next.
  const nudges = tunebase.nudges;
  for (let waited = 0; waited < 1200 && await left() > 0; waited++) {
    await new Promise((r) => setTimeout(r, 50));
    if (tunebase.nudges > nudges) await tunebase.tick();
  }
  assertEquals(receiver.at(path).length, 1001);
  // Tests concurrency only; `task bench` measures speed.
  assert(receiver.maxOpen >= 32, `${receiver.maxOpen} at once`);
});
