/** How functions call SQL: values stay values, each call is one round trip, and results match their declaration. */
import { assert, assertEquals, assertRejects } from "#assert";
import * as z from "zod";
import { connect } from "../../supabase/functions/_shared/database/connect.ts";
import { DatabaseError } from "../../supabase/functions/_shared/database/failure.ts";
import { invoke, rpc, type Signature } from "../../supabase/functions/_shared/database/rpc.ts";
import { ApiError } from "../../supabase/functions/_shared/errors.ts";
import { describeError } from "../../supabase/functions/_shared/log.ts";
import { testDatabase } from "../support/database.ts";
import { startLatencyProxy } from "../support/latency_proxy.ts";

const database = await testDatabase();
Deno.test.afterAll(() => database.close());
const { sql } = database;
await sql`create function tunebase_internal.echo(
    p_text text, p_number double precision, p_true boolean, p_json jsonb, p_ids uuid[] default '{}'
  ) returns jsonb language sql as 'select jsonb_build_array(p_text, p_number, p_true, p_json, p_ids)'`;
await sql`create function tunebase_internal.sleep(p_seconds double precision) returns void
  language sql as 'select pg_sleep(p_seconds)'`;
await sql`create function tunebase_internal.fail(p_how text) returns integer language plpgsql as ${
  // deno-fmt-ignore
  sql.unsafe(`$$begin
    if p_how = 'code' then perform tunebase_internal.raise_api_error('job_not_found'); end if;
    if p_how = 'unknown code' then perform tunebase_internal.raise_api_error('never_heard_of'); end if;
    raise exception 'the value was %', p_how using errcode = case when p_how = 'full' then '53100' else '23514' end,
      detail = p_how, constraint = 'some_check';
  end$$`)}`;
const echo: Signature = {
  args: { text: "text", number: "double precision", true: "boolean", json: "jsonb" },
  optional: { ids: "uuid[]" },
  result: "jsonb",
};
const fail: Signature = { args: { how: "text" }, optional: {}, result: "integer" };
const sleep: Signature = { args: { seconds: "double precision" }, optional: {}, result: "void" };
const url = database.url("postgres");

const texts = [
  "plain",
  "",
  "it's",
  "';select 1;--",
  "\\'; drop table tunebase.jobs; --",
  "a\\",
  "\\\\'",
  "E'x\\'y'",
  "$1 $$ $tag$ :name %s ?",
  "line\nfeed\ttab",
  "ünïcödé 🐘 \u202e",
  '{"a": 1}',
  "{1,2}",
];

Deno.test("every value arrives unchanged", async () => {
  const db = connect(url);
  const ids = [crypto.randomUUID(), crypto.randomUUID()];
  for (const text of texts) {
    const json = { [text]: [text, 0.5, null, true] };
    assertEquals(
      await invoke(db, "echo", echo, { text, number: -1.5, true: true, json, ids }),
      [text, -1.5, true, json, ids],
    );
  }
  assertEquals(
    await invoke(db, "echo", echo, { text: null, number: null, true: false, json: [], ids: [] }),
    [null, null, false, [], []],
  );
  await db.close();
});

Deno.test("an omitted argument uses its SQL default", async () => {
  const db = connect(url);
  const args = { text: "", number: 1, true: true, json: {} };
  assertEquals(await invoke(db, "echo", echo, args), ["", 1, true, {}, []]);
  await db.close();
});

Deno.test("a call is one round trip", async () => {
  const { db, line } = far(0);
  const args = { text: "x", number: 1, true: true, json: {} };
  await invoke(db, "echo", echo, args);
  const before = line.roundTrips;
  for (let n = 0; n < 10; n++) await invoke(db, "echo", echo, { ...args, number: n });
  assertEquals(line.roundTrips - before, 10);
  await db.close();
  await line.stop();
});

Deno.test("calls are pipelined over four connections", async () => {
  const { db, line } = far(25);
  const call = (n: number) => invoke(db, "echo", echo, { text: "x", number: n, true: true, json: {} });
  await Promise.all([0, 1, 2, 3].map(call));
  const begin = performance.now();
  const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => call(n)));
  const trips = (performance.now() - begin) / 50;
  assertEquals(answers.map((answer) => z.array(z.unknown()).parse(answer)[1]), answers.map((_, n) => n));
  assert(trips < 5, `40 calls took ${trips.toFixed(1)} round trips' time`); // without pipelining: 10
  const [count] = await sql`select count(*)::int as n from pg_stat_activity
    where datname = current_database() and query like '%tunebase_internal.echo%' and pid <> pg_backend_pid()`;
  assertEquals(count?.n, 4);
  await db.close();
  await line.stop();
});

Deno.test("an SQL error code maps to the API error of that code", async () => {
  const db = connect(url);
  const error = await assertRejects(() => invoke(db, "fail", fail, { how: "code" }), ApiError);
  assertEquals(error.code, "job_not_found");
  await db.close();
});

Deno.test("an unexpected error names the statement and omits the values", async () => {
  const db = connect(url);
  const error = await assertRejects(() => invoke(db, "fail", fail, { how: "s3cret" }), DatabaseError);
  assertEquals(
    error.message,
    "tunebase_internal.fail: SQLSTATE 23514, constraint some_check, in tunebase_internal.fail:4",
  );
  assert(!describeError(error).includes("s3cret"));
  const unknown = await assertRejects(
    () => invoke(db, "fail", fail, { how: "unknown code" }),
    DatabaseError,
  );
  assertEquals(unknown.sqlstate, "TB000");
  await db.close();
});

Deno.test("a result that does not match its declaration is an error", async () => {
  const db = connect(url);
  const args = { text: "s3cret", number: 1, true: true, json: {} };
  const error = await assertRejects(() => invoke(db, "echo", { ...echo, result: "boolean" }, args), Error);
  assertEquals(error.message, "tunebase_internal.echo did not return a boolean");
  const admitted = z.array(z.object({ bucket: z.boolean() }));
  await sql`insert into tunebase_internal.orphaned_objects (bucket, object) values ('datasets', 's3cret')`;
  const wrong = await assertRejects(() => rpc(db, "claim_orphaned_objects", { limit: 1 }, admitted), Error);
  assert(
    wrong.message.startsWith(
      "tunebase_internal.claim_orphaned_objects returned an unexpected result: 0.bucket",
    ),
  );
  assert(!wrong.message.includes("s3cret"));
  await db.close();
});

Deno.test("an unreachable database is database_unavailable", async () => {
  const nowhere = new URL(url);
  nowhere.port = "1";
  const db = connect(nowhere.href);
  for (let n = 0; n < 6; n++) {
    const error = await assertRejects(() => rpc(db, "expire_files", {}), ApiError);
    assertEquals([error.code, error.entry.status], ["database_unavailable", 503]);
  }
  await db.close();
});

Deno.test("calls in flight when connections are cut fail with database_unavailable, and the next call reconnects", async () => {
  const db = connect(url);
  const running = Array.from(
    { length: 9 },
    () => assertRejects(() => invoke(db, "sleep", sleep, { seconds: 30 }), ApiError),
  );
  await until(async () => (await backends()).length === 4);
  for (const pid of await backends()) await sql`select pg_terminate_backend(${pid})`;
  for (const error of await Promise.all(running)) assertEquals(error.code, "database_unavailable");
  assertEquals(await invoke(db, "sleep", sleep, { seconds: 0 }), null);
  await db.close();
});

Deno.test("a cut idle connection causes no error, and the next call reconnects", async () => {
  const db = connect(url);
  await invoke(db, "sleep", sleep, { seconds: 0 });
  for (const pid of await backends()) await sql`select pg_terminate_backend(${pid})`;
  await until(async () => (await backends()).length === 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(await invoke(db, "sleep", sleep, { seconds: 0 }), null);
  await db.close();
});

Deno.test("a server without free connections is database_unavailable", async () => {
  const db = connect(url);
  const error = await assertRejects(() => invoke(db, "fail", fail, { how: "full" }), ApiError);
  assertEquals(error.code, "database_unavailable");
  await db.close();
});

/** The database behind `ms` milliseconds of latency each way. */
function far(ms: number) {
  const address = new URL(url);
  const line = startLatencyProxy(Number(address.port), ms);
  address.port = String(line.port);
  return { line, db: connect(address.href) };
}

/** The connections that are sleeping or have slept. */
async function backends(): Promise<number[]> {
  const found = await sql<{ pid: number }[]>`select pid from pg_stat_activity
    where datname = current_database() and query like 'select tunebase_internal.sleep%'`;
  return found.map(({ pid }) => pid);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !await holds(); tries++) {
    assert(tries < 200, "it did not come to be within 5 s");
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
