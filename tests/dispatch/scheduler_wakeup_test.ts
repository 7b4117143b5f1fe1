/** The database's scheduler wake-ups, with fakes of pg_net's and Vault's objects (same names and signatures). */
import { assertEquals } from "#assert";
import { startTunebase } from "../support/test_server.ts";
import { createJob } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const user = await tunebase.user();
const sent = () => sql<{ url: string; headers: unknown }[]>`select url, headers from net.sent`;

// @proves next-check
Deno.test("a job can be created without pg_net and Vault", async () => {
  assertEquals((await createJob(user)).status, "queued");
});

// @proves report-stuck-queued
Deno.test("with pg_net and Vault, a due job wakes the scheduler once per transaction", async () => {
  await sql.unsafe(`
    create schema vault;
    create table vault.decrypted_secrets (name text, decrypted_secret text);
    create schema net;
    create table net.sent (url text, headers jsonb, timeout integer);
    create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}',
      headers jsonb default '{}', timeout_milliseconds integer default 5000) returns bigint
    language sql as $$ insert into net.sent values (url, headers, timeout_milliseconds) returning 1 $$;
  `);
  await createJob(user);
  assertEquals((await sent()).length, 0, "no address and no secret yet");
  await sql`insert into vault.decrypted_secrets values
    ('tunebase_scheduler_url', 'https://x.supabase.co/functions/v1/tunebase-scheduler/tick'), ('tunebase_scheduler_secret', 's')`;
  await createJob(user);
  assertEquals([...await sent()], [{
    url: "https://x.supabase.co/functions/v1/tunebase-scheduler/tick",
    headers: { "content-type": "application/json", authorization: "Bearer s" },
  }]);
  const waits = await createJob(user, { auto_start: false });
  assertEquals((await sent()).length, 1, "a job that is waiting to be started is not due");
  await user.fetch(`/fine_tuning/jobs/${waits.id}/start`, { method: "POST" });
  assertEquals((await sent()).length, 2);
});

Deno.test("a failed wake-up does not affect the job", async () => {
  await sql`drop table net.sent`;
  assertEquals((await createJob(user)).status, "queued");
});
