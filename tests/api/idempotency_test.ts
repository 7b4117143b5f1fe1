/** A POST with an Idempotency-Key runs once, and its response is stored for a day. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { BodyHash } from "../../supabase/functions/tunebase/middleware/body_hash.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const ada = await tunebase.user();

async function post(
  path: string,
  body: BodyInit | undefined,
  key: string,
  user: TestUser = ada,
  byUser = true,
) {
  const headers: Record<string, string> = { "idempotency-key": key };
  if (byUser) headers.authorization = `Bearer ${user.accessToken}`;
  const response = await user.fetch(path, { method: "POST", headers, body });
  return {
    status: response.status,
    replayed: response.headers.get("idempotent-replayed"),
    headers: response.headers,
    body: await response.json(),
  };
}
const project = (name: string) => JSON.stringify({ name });
const projects = async (name: string) =>
  Number((await sql`select count(*) from tunebase.projects where name = ${name}`)[0]?.count);
function form(text = rows, name = "rows.jsonl"): FormData {
  const made = new FormData();
  made.append("purpose", "fine-tune");
  made.append("file", new File([text], name));
  return made;
}

Deno.test("the same key and body return the first response, and the resource is created once", async () => {
  const key = crypto.randomUUID();
  const first = await post("/projects", project("once"), key);
  const again = await post("/projects", project("once"), key);
  assertEquals([first.status, first.replayed, again.status, again.replayed], [200, null, 200, "true"]);
  assertEquals(again.body, first.body);
  assertEquals(await projects("once"), 1);
});

Deno.test("rejects a reused key with a different body, path or project; keys are scoped to the caller", async () => {
  const key = crypto.randomUUID();
  await post("/projects", project("a"), key);
  for (
    const other of [
      await post("/projects", project("b"), key),
      await post("/projects?x=1", project("a"), key),
      await post("/api_keys", project("a"), key),
    ]
  ) {
    assertEquals([other.status, other.body.error.code], [409, "idempotency_key_reused"]);
    assertEquals(other.headers.get("x-should-retry"), "false");
  }
  const bob = await tunebase.user();
  assertEquals((await post("/projects", project("a"), key, bob)).replayed, null);
});

Deno.test("concurrent requests with one key run once; the rest get 409 with Retry-After", async () => {
  const key = crypto.randomUUID();
  const responses = await Promise.all(
    Array.from({ length: 8 }, () => post("/projects", project("many"), key)),
  );
  assertEquals(await projects("many"), 1);
  for (const { status, body, headers } of responses.filter(({ status }) => status !== 200)) {
    assertEquals([status, body.error.code], [409, "idempotency_key_in_use"]);
    assertEquals([headers.get("x-should-retry"), headers.get("retry-after")], ["true", "1"]);
  }
  assertEquals((await post("/projects", project("many"), key)).replayed, "true");
});

Deno.test("a file is created once although the form boundary differs each time", async () => {
  const key = crypto.randomUUID();
  const first = await post("/files", form(), key, ada, false);
  const again = await post("/files", form(), key, ada, false);
  assertEquals([first.status, again.replayed, again.body.id], [200, "true", first.body.id]);
  const other = await post("/files", form(rows + rows), key, ada, false);
  assertEquals([other.status, other.body.error.code], [409, "idempotency_key_reused"]);
  const named = await post("/files", form(rows, "other.jsonl"), key, ada, false);
  assertEquals(named.status, 409, "a file's name is part of what was asked for");
});

Deno.test("an upload and its streamed parts are created once", async () => {
  const create = JSON.stringify({
    bytes: rows.length,
    filename: "r.jsonl",
    mime_type: "application/jsonl",
    purpose: "fine-tune",
  });
  const [first, again] = [
    await post("/uploads", create, "up", ada, false),
    await post("/uploads", create, "up", ada, false),
  ];
  assertEquals([first.status, again.body.id], [200, first.body.id]);
  const part = (text: string) => {
    const made = new FormData();
    made.append("data", new File([text], "part"));
    return post(`/uploads/${first.body.id}/parts`, made, "part", ada, false);
  };
  const [one, two] = [await part(rows), await part(rows)];
  assertEquals([one.status, two.replayed, two.body.id], [200, "true", one.body.id]);
  assertEquals((await part("another")).body.error.code, "idempotency_key_reused");
});

Deno.test("a form's hash does not depend on its boundary or chunking", () => {
  const body = (boundary: string, text: string) =>
    new TextEncoder().encode(
      `--${boundary}\r\ncontent-disposition: form-data; name="file"\r\n\r\n${text}\r\n--${boundary}--\r\n`,
    );
  const hash = (boundary: string, text: string, cut: number, more = "/files") => {
    const made = new BodyHash(`multipart/form-data; boundary=${boundary}`, [more]);
    const bytes = body(boundary, text);
    for (let at = 0; at < bytes.length; at += cut) made.update(bytes.subarray(at, at + cut));
    return made.digest();
  };
  const text = "-- a text with dashes --\r\n--almost";
  const one = hash("----formdata-1", text, 1);
  for (const cut of [1, 2, 3, 7, 19, 1000]) {
    assertEquals(hash("----formdata-1", text, cut), one);
    assertEquals(hash("----another-boundary-of-other-length", text, cut), one);
  }
  assert(hash("----formdata-1", `${text}!`, 7) !== one);
  assert(hash("----formdata-1", text, 7, "/uploads") !== one);
});

Deno.test("a rejected request can be corrected and sent again with its key", async () => {
  const key = crypto.randomUUID();
  assertEquals((await post("/projects", project(""), key)).status, 400);
  assertEquals((await post("/projects", project("right"), key)).status, 200);
  assertEquals((await post("/files", form("nonsense"), "k2", ada, false)).status, 400);
  assertEquals((await post("/files", form(), "k2", ada, false)).status, 200);
});

Deno.test("a crashed request holds its key for at most a minute", async () => {
  const key = crypto.randomUUID();
  await post("/projects", project("crash"), key);
  // As if the isolate died before it stored the response.
  await sql`update tunebase_internal.idempotency_keys set answer = null where id = (select id from tunebase_internal.idempotency_keys order by id desc limit 1)`;
  const early = await post("/projects", project("crash"), key);
  assertEquals([early.status, early.body.error.code], [409, "idempotency_key_in_use"]);
  await sql`update tunebase_internal.idempotency_keys set locked_until = now() where answer is null and resource_id is null`;
  assertEquals((await post("/projects", project("another"), key)).status, 409, "still for this body alone");
  const late = await post("/projects", project("crash"), key);
  assertEquals([late.status, late.replayed], [200, null]);
  assertEquals((await post("/projects", project("crash"), key)).body.id, late.body.id);
});

Deno.test("a secret shown once is replayed for its key and never stored in plaintext", async () => {
  const key = crypto.randomUUID();
  const made = await post("/api_keys", project("secret"), key);
  assertEquals((await post("/api_keys", project("secret"), key)).body.key, made.body.key);
  const stored = await sql`select t::text as row from tunebase_internal.idempotency_keys t`;
  assert(stored.length > 0);
  for (const { row } of stored) {
    assert(!row.includes(made.body.key) && !row.includes(key) && !row.includes("hint"), row);
  }
  const [{ count } = {}] =
    await sql`select count(*)::int as count from tunebase.api_keys where name = 'secret'`;
  assertEquals(count, 1);
});

Deno.test("a key expires after a day, for jobs too", async () => {
  const key = crypto.randomUUID();
  const first = await post("/projects", project("daily"), key);
  await sql`update tunebase_internal.idempotency_keys set created_at = now() - interval '25 hours'`;
  const next = await post("/projects", project("daily"), key);
  assert(next.body.id !== first.body.id);
  const file = await post("/files", form(), crypto.randomUUID(), ada, false);
  const job = JSON.stringify({ model: "SmolLM2-135M-Instruct", training_file: file.body.id });
  const made = await post("/fine_tuning/jobs", job, key, ada, false);
  assertEquals((await post("/fine_tuning/jobs", job, key, ada, false)).body.id, made.body.id);
  await sql`update tunebase_internal.idempotency_keys set created_at = now() - interval '25 hours'`;
  await tunebase.tick();
  assertEquals((await sql`select 1 from tunebase_internal.idempotency_keys`).length, 0);
  assert((await post("/fine_tuning/jobs", job, key, ada, false)).body.id !== made.body.id);
});

/** A job's request as an SDK sends it: without a key, with its count of retries. */
async function createJob(body: string, retries: number) {
  const response = await ada.fetch("/fine_tuning/jobs", {
    method: "POST",
    headers: { "x-stainless-retry-count": String(retries) },
    body,
  });
  const made = await response.json();
  assertEquals(response.status, 200, JSON.stringify(made));
  return String(made.id);
}
const jobBody = async () => {
  const file = await post("/files", form(), crypto.randomUUID(), ada, false);
  return JSON.stringify({
    model: "SmolLM2-135M-Instruct",
    training_file: file.body.id,
    suffix: crypto.randomUUID().slice(0, 8),
  });
};

Deno.test("concurrent retries find the first request's job; separate first requests each create one", async () => {
  const body = await jobBody();
  const first = await createJob(body, 0);
  const retries = await Promise.all([1, 2, 1, 2].map((retry) => createJob(body, retry)));
  assertEquals(new Set([first, ...retries]).size, 1);
  assertEquals(new Set(await Promise.all([0, 0, 0].map((none) => createJob(body, none)))).size, 3);
});

Deno.test("a retry waits for the first request's transaction and returns its job", async () => {
  const body = await jobBody();
  const job = await createJob(body, 0);
  const [row] = await sql<{ subject: string; hash: string; resource_id: string }[]>`
    delete from tunebase_internal.idempotency_keys
    where id = (select id from tunebase_internal.idempotency_keys order by id desc limit 1)
    returning subject, request_hash as hash, resource_id`;
  assert(row !== undefined);
  const caller = { key_hash: row.subject, request: { key_hash: null, hash: row.hash, is_retry: false } };
  // The first request's open transaction: it holds the lock, and its rows are not visible yet.
  const retry = await sql.begin(async (t) => {
    await t`select tunebase_internal.find_created_resource(${t.json(caller)})`;
    await t`select tunebase_internal.record_created_resource(${t.json(caller)}, ${row.resource_id})`;
    const retry = createJob(body, 1);
    const early = await Promise.race([retry, new Promise((done) => setTimeout(() => done("waiting"), 300))]);
    assertEquals(early, "waiting");
    return { id: retry };
  });
  assertEquals(await retry.id, job);
});

Deno.test("creating and rotating a webhook endpoint with a key happen once, even after its version changed", async () => {
  const endpoint = JSON.stringify({
    name: "x",
    url: "http://127.0.0.1:9/hook",
    event_types: ["fine_tuning.job.failed"],
  });
  const key = crypto.randomUUID();
  const made = await post("/webhook_endpoints", endpoint, key);
  const again = await post("/webhook_endpoints", endpoint, key);
  assertEquals([made.status, again.status, again.body], [200, 200, made.body]);
  const path = `/webhook_endpoints/${made.body.id}`;
  const read = await ada.fetch(path, { headers: { authorization: `Bearer ${ada.accessToken}` } });
  await read.body?.cancel();
  const rotate = async () => {
    const response = await ada.fetch(`${path}/rotate_secret`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${ada.accessToken}`,
        "idempotency-key": "rotate",
        "if-match": read.headers.get("etag") ?? "",
      },
      body: "{}",
    });
    return { status: response.status, secret: (await response.json()).signing_secret };
  };
  const rotated = await rotate();
  assertEquals(rotated.status, 200);
  assert(rotated.secret !== made.body.signing_secret);
  assertEquals(await rotate(), rotated);
  const other = await post("/webhook_endpoints", endpoint.replace('"x"', '"y"'), key);
  assertEquals([other.status, other.body.error.code], [409, "idempotency_key_reused"]);
});

Deno.test("rejects an over-long idempotency key", async () => {
  const refused = await post("/projects", project("x"), "k".repeat(256));
  assertEquals([refused.status, refused.body.error.param], [400, "idempotency-key"]);
  assertStringIncludes(refused.body.detail, "256");
});
