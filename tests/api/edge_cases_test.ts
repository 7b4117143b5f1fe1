/** Edge cases of the API and the scheduler that a review found, each covered as a class. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { BodyHash } from "../../supabase/functions/tunebase/middleware/body_hash.ts";
import { invalidFile } from "../../supabase/functions/tunebase/file_upload.ts";
import { UnknownKeys } from "../../supabase/functions/tunebase/middleware/unknown_keys.ts";
import { connect } from "../../supabase/functions/_shared/database/connect.ts";
import { rpc } from "../../supabase/functions/_shared/database/rpc.ts";
import { validate } from "../../supabase/functions/_shared/datasets/validator.ts";
import { ApiError } from "../../supabase/functions/_shared/errors.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt, rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, runpod } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000`;
const json = { "content-type": "application/json" };
const post = (of: TestUser, path: string, body: unknown, headers: Record<string, string> = {}) =>
  of.fetch(path, { method: "POST", body: JSON.stringify(body), headers: { ...json, ...headers } });
async function problem(response: Response, status: number) {
  const body = await response.json();
  assertEquals(response.status, status, JSON.stringify(body).slice(0, 500));
  return body;
}
function form(fields: Record<string, string | File>): FormData {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) made.set(name, value);
  return made;
}
const upload = (of: TestUser, fields: Record<string, string | File>) =>
  of.fetch("/files", { method: "POST", body: form({ purpose: "fine-tune", ...fields }) });
const rowsFile = (text = rows, name = "rows.jsonl") => new File([text], name);

Deno.test("a form with half an expiry is a 400 that names the missing field", async () => {
  for (
    const [has, value, lacks] of [
      ["expires_after[anchor]", "created_at", "expires_after[seconds]"],
      ["expires_after[seconds]", "3600", "expires_after[anchor]"],
    ] as const
  ) {
    const body = await problem(await upload(user, { file: rowsFile(), [has]: value }), 400);
    assertEquals(body.error.param, lacks);
  }
  const both = { "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600" };
  assertEquals((await upload(user, { file: rowsFile(), ...both })).status, 200);
});

const packed = async (text: string) =>
  new Uint8Array(
    await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
  );

Deno.test("multi-member gzip is read completely, and its size limit covers all members", async () => {
  const members = [await packed(rows), await packed(rows.replaceAll("hi", "ho"))];
  const made = await (await upload(user, { file: new File(members, "two.jsonl.gz") })).json();
  assertEquals([made.filename, made.bytes], ["two.jsonl", rows.length * 2]);
  const bomb = await packed(" ".repeat(20 * 2 ** 20));
  const refused = await problem(await upload(user, { file: new File([bomb, bomb], "bomb.gz") }), 413);
  assertStringIncludes(refused.error.message, "decompresses to more than 32 MiB");
  const broken = new File([members[0] ?? "", new Uint8Array([0x1f, 0x8b, 8, 0, 1])], "broken.gz");
  assertEquals((await problem(await upload(user, { file: broken }), 400)).error.code, "invalid_file");
});

Deno.test("a body with thousands of unknown keys reports 20 of them and the count", async () => {
  const body = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key_${i}`, 1]));
  const response = await post(user, "/fine_tuning/jobs", body);
  const text = await response.text();
  const answer = JSON.parse(text);
  assertEquals([response.status, answer.errors.length], [400, 20]);
  assert(answer.problem_count > 50_000, String(answer.problem_count));
  assert(text.length < 20_000, `${text.length} bytes`);
  const long = await problem(await post(user, "/fine_tuning/jobs", { ["k".repeat(500_000)]: 1 }), 400);
  assert(JSON.stringify(long).length < 5_000);
});

Deno.test("rejects a form with over 64 fields or a short boundary before parsing", async () => {
  const many = form({ purpose: "fine-tune", file: rowsFile() });
  for (let i = 0; i < 70; i++) many.append(`f${i}`, "x");
  for (const headers of [new Headers(), new Headers({ "idempotency-key": "many-fields" })]) {
    const refused = await problem(await user.fetch("/files", { method: "POST", body: many, headers }), 400);
    assertStringIncludes(refused.error.message, "more than 64 fields");
  }
  const short = { "content-type": "multipart/form-data; boundary=a" };
  for (const path of ["/files", "/uploads/upload_00000000000000000000000000000000/parts"]) {
    const refused = await user.fetch(path, { method: "POST", body: "--a--", headers: { ...short } });
    // The part's upload is checked first.
    assert([400, 404].includes(refused.status), String(refused.status));
  }
  const rejection = await assertRejects(
    () => Promise.resolve().then(() => new BodyHash("multipart/form-data; boundary=a", [])),
    ApiError,
  );
  assertStringIncludes(rejection.message, "the boundary has 1 characters; it must have 8 to 70");
});

Deno.test("SDK error messages contain the first five invalid rows and counts by kind", () => {
  const wrong = ["x", "{}", '{"messages":[]}', "y", "z", '{"messages":[]}', rows.trim()].join("\n");
  const { message } = invalidFile(validate(new TextEncoder().encode(wrong)));
  assertStringIncludes(
    message,
    "6 of 8 rows are invalid (not_json: 3, unknown_format: 1, messages: 2",
  );
  for (const line of [1, 2, 3, 4]) assertStringIncludes(message, `Line ${line}: `);
});

Deno.test("a run that timed out unclaimed is requeued as a capacity problem", async () => {
  runpod.status = () => Response.json({ id: "run", status: "TIMED_OUT" });
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  await sql`update tunebase.attempts set reconcile_at = now() where id = ${attempt.id}`;
  await tunebase.tick();
  const [ended] = await sql`select outcome, error_code from tunebase.attempts where id = ${attempt.id}`;
  assertEquals([ended?.outcome, ended?.error_code], ["expired", "no_capacity"]);
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job.id)).status, "queued");
});

Deno.test("RunPod's error text appears in the job's events, shortened and redacted", async () => {
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  const worker = new FakeWorker(tunebase, attempt.id);
  await worker.claim();
  runpod.status = () =>
    Response.json({
      id: "run",
      status: "FAILED",
      error: `CUDA\0 error:\n  at https://x.example/a?token=secret1 whsec_secret2 ${"y".repeat(2000)}`,
    });
  await sql`
    update tunebase.attempts set reconcile_at = now(), lease_until = now() - interval '1 second' where id = ${attempt.id}`;
  await tunebase.tick();
  const events = (await user.openai.fineTuning.jobs.listEvents(job.id)).data.map(({ message }) => message);
  const shown = events.find((message) => message.startsWith("The GPU service reports: CUDA")) ?? "";
  assertStringIncludes(shown, "CUDA\ufffd error: at https://x.example/a?… whsec_… yyy");
  assert(shown.length < 540 && !/secret/.test(shown), shown);
});

Deno.test("parts may total the upload's size plus one repeated part", async () => {
  const begun = await user.openai.uploads.create({
    bytes: 10,
    filename: "p.jsonl",
    mime_type: "application/jsonl",
    purpose: "fine-tune",
  });
  const part = (bytes: number) =>
    user.fetch(`/uploads/${begun.id}/parts`, {
      method: "POST",
      body: form({ data: new File(["x".repeat(bytes)], "p") }),
    });
  const statuses = [];
  for (const bytes of [10, 10, 1, 10]) statuses.push((await part(bytes)).status);
  assertEquals(statuses, [200, 200, 400, 400]);
  const [{ bytes } = {}] =
    await sql`select sum(bytes)::int as bytes from tunebase_internal.upload_parts where bytes is not null`;
  assertEquals(bytes, 20);
});

Deno.test("pending uploads count toward storage and a cap until they are cancelled", async () => {
  const own = await tunebase.user();
  await sql`update tunebase.projects set max_storage_bytes = 100 where id = ${own.projectId}`;
  const direct = { filename: "d.jsonl", bytes: 60, purpose: "fine-tune" };
  const first = await (await post(own, "/files/direct", direct)).json();
  assertEquals(
    (await problem(await post(own, "/files/direct", direct), 403)).error.code,
    "quota_exceeded",
  );
  assertEquals((await post(own, `/uploads/${first.id}/cancel`, {})).status, 200);
  assertEquals((await post(own, "/files/direct", direct)).status, 200);
  await sql`update tunebase.projects set max_storage_bytes = null where id = ${own.projectId}`;
  await sql`
    insert into tunebase_internal.uploads (id, project_id, kind, filename, purpose, bytes, mime_type, expires_at)
    select gen_random_uuid(), ${own.projectId}, 'parts', 'x', 'fine-tune', 1, 'x', now() + interval '1 hour'
    from generate_series(1, 99)`;
  const capped = await problem(await post(own, "/files/direct", direct), 403);
  assertEquals(capped.error.code, "quota_exceeded");
  assertStringIncludes(capped.error.message, "100 pending uploads per project");
});

Deno.test("a direct upload with a wrong size creates no file", async () => {
  const begun = await (await post(user, "/files/direct", { filename: "d", bytes: 10, purpose: "fine-tune" }))
    .json();
  await tunebase.platform.supabase.storage.from("tunebase-datasets").upload(begun.target.object, rows);
  const refused = await problem(await post(user, `/files/direct/${begun.id}/complete`, {}), 400);
  assertEquals([refused.error.code, refused.error.param], ["upload_size", "bytes"]);
});

Deno.test("an object over Storage's limit is a 413 that names the limit", async () => {
  await sql`update storage.buckets set file_size_limit = 20 where id = 'tunebase-datasets'`;
  try {
    const refused = await problem(await upload(user, { file: rowsFile(`${rows}${rows}`) }), 413);
    assertStringIncludes(refused.error.message, "exceeds the file size limit of this server's Storage");
  } finally {
    await sql`update storage.buckets set file_size_limit = null where id = 'tunebase-datasets'`;
  }
});

Deno.test("identical files share one object, which is deleted with the last of them", async () => {
  const own = await tunebase.user();
  const text = rows.replaceAll("hi", "equal");
  const ids = [];
  for (const name of ["a.jsonl", "b.jsonl"]) {
    const made = await (await upload(own, { file: rowsFile(text, name) })).json();
    assertEquals([made.filename, made.status], [name, "processed"]);
    ids.push(made.id);
  }
  // Through /uploads and /files/direct, they are recognized as identical after reading.
  const begun = await own.openai.uploads.create({
    bytes: text.length,
    filename: "c.jsonl",
    mime_type: "application/jsonl",
    purpose: "fine-tune",
  });
  const part = await own.openai.uploads.parts.create(begun.id, { data: new File([text], "p") });
  ids.push((await own.openai.uploads.complete(begun.id, { part_ids: [part.id] })).file?.id);
  const direct =
    await (await post(own, "/files/direct", { filename: "d", bytes: text.length, purpose: "fine-tune" }))
      .json();
  await tunebase.platform.supabase.storage.from("tunebase-datasets").upload(direct.target.object, text);
  ids.push((await (await post(own, `/files/direct/${direct.id}/complete`, {})).json()).id);
  await tunebase.tick();
  assertEquals(new Set(ids).size, 4);
  const objects =
    await sql`select distinct object, status from tunebase.files where project_id = ${own.projectId}`;
  assertEquals(objects.map(({ status }) => status), ["processed"]);
  const object = objects[0]?.object;
  const [{ stored } = {}] = await sql`select tunebase_internal.stored_bytes(${own.projectId})::int as stored`;
  assertEquals(stored, text.length);
  const content = async (id: string) => (await own.fetch(`/files/${id}/content`)).status;
  const isGarbage = async () =>
    (await sql`select from tunebase_internal.orphaned_objects where object = ${object}`).length > 0;
  for (const [i, id] of ids.entries()) {
    assertEquals([await content(id), await isGarbage()], [200, false]);
    await own.openai.files.delete(id);
    assertEquals(await isGarbage(), i === 3);
  }
  const other = await tunebase.user();
  const theirs = await (await upload(other, { file: rowsFile(text) })).json();
  assertEquals(theirs.status, "processed");
  assert(
    (await sql`select from tunebase.files where object = ${object} and project_id = ${other.projectId}`)
      .length === 0,
    "another project's file is another object",
  );
});

Deno.test("deleting two identical files at once removes their object once", async () => {
  const own = await tunebase.user();
  const text = rows.replaceAll("hi", "at once");
  for (let round = 0; round < 5; round++) {
    const ids: string[] = [];
    for (let i = 0; i < 4; i++) ids.push((await (await upload(own, { file: rowsFile(text) })).json()).id);
    const [{ object } = {}] = await sql`
      select object from tunebase.files where project_id = ${own.projectId} and deleted_at is null limit 1`;
    const deleted = await Promise.all(
      ids.map(async (id) => (await own.fetch(`/files/${id}`, { method: "DELETE" })).status),
    );
    assertEquals(deleted, [200, 200, 200, 200]);
    assertEquals(
      (await sql`select from tunebase_internal.orphaned_objects where object = ${object}`).length,
      1,
    );
  }
});

Deno.test("an idempotent replay is denied to a revoked key or one without the scope", async () => {
  const hook = { name: "hook", url: `${tunebase.url}/nowhere`, event_types: ["fine_tuning.job.succeeded"] };
  // Recorded by the route's SQL and by the middleware.
  for (const [path, body] of [["/webhook_endpoints", hook], ["/api_keys", { name: "another" }]] as const) {
    const own = await tunebase.user();
    const [key] =
      await sql`update tunebase.api_keys set scopes = tunebase_internal.scopes() where project_id = ${own.projectId} returning id`;
    const send = () => post(own, path, body, { "idempotency-key": "once" });
    const [first, again] = [await (await send()).json(), await (await send()).json()];
    assertEquals([typeof first.id, again.id], ["string", first.id]);
    await sql`update tunebase.api_keys set scopes = '{files:read}' where id = ${key?.id}`;
    assertEquals((await problem(await send(), 403)).error.code, "insufficient_scope");
    await sql`update tunebase.api_keys set scopes = tunebase_internal.scopes(), revoked_at = now() where id = ${key?.id}`;
    assertEquals((await problem(await send(), 401)).error.code, "invalid_api_key");
  }
});

Deno.test("rejects users deleted in Auth and keys of projects without members", async () => {
  const gone = await tunebase.user();
  await sql`delete from auth.users where id = ${gone.id}`;
  const token = { authorization: `Bearer ${gone.accessToken}` };
  for (
    const [path, method] of [["/projects", "POST"], ["/me", "GET"], ["/fine_tuning/jobs", "GET"]] as const
  ) {
    const response = await gone.fetch(path, {
      method,
      headers: { ...json, ...token },
      ...(method === "POST" ? { body: '{"name":"x"}' } : {}),
    });
    assertEquals((await problem(response, 401)).error.code, "invalid_token");
  }
  const refused = await problem(await gone.fetch("/fine_tuning/jobs"), 403);
  assertEquals(refused.error.code, "project_without_members");
});

Deno.test("an unavailable database is a retryable 503", async () => {
  const none = connect("postgres://nobody@127.0.0.1:1/nowhere");
  const error = await assertRejects(() => rpc(none, "expire_files", {}), ApiError);
  assertEquals(
    [error.code, error.entry.status, error.headers["retry-after"]],
    ["database_unavailable", 503, "5"],
  );
  await none.close();
});

Deno.test("a caller can have 20 open event streams; the next is rejected", async () => {
  const own = await tunebase.user();
  const job = await createJob(own);
  const open = () =>
    own.fetch(`/fine_tuning/jobs/${job.id}/events`, { headers: { accept: "text/event-stream" } });
  const streams = await Promise.all(Array.from({ length: 20 }, open));
  assertEquals(streams.map(({ status }) => status), Array(20).fill(200));
  const refused = await open();
  assertEquals((await problem(refused, 429)).error.code, "too_many_streams");
  assertEquals((await (await user.fetch("/files")).json()).object, "list", "others are not held up");
  await Promise.all(streams.map((stream) => stream.body?.cancel()));
});

Deno.test("unknown keys are cached for seconds, and lookups per address are limited", () => {
  const keys = new UnknownKeys();
  const code = (key: string, address: string, now: number) => {
    try {
      keys.check(key, address, now);
      return null;
    } catch (error) {
      return error instanceof ApiError ? error.code : error;
    }
  };
  assertEquals(code("k", "a", 0), null);
  keys.refused("k", "a", 0);
  assertEquals([code("k", "b", 4_000), code("k", "b", 6_000)], ["invalid_api_key", null]);
  for (let i = 0; i < 119; i++) keys.refused(`a${i}`, "a", 7_000);
  assertEquals([code("new", "a", 8_000), code("new", "b", 8_000)], ["too_many_unknown_keys", null]);
  for (let i = 0; i < 1_200; i++) keys.refused(`b${i}`, `b${i}`, 9_000);
  assertEquals([code("new", "c", 9_000), code("new", "c", 61_000)], ["too_many_unknown_keys", null]);
});

Deno.test("cron history older than a day is pruned for our jobs only", async () => {
  await sql.unsafe(`
    create schema cron;
    create table cron.job (jobid bigint, jobname text);
    create table cron.job_run_details (jobid bigint, end_time timestamptz);
    insert into cron.job values (1, 'tunebase-tick'), (2, 'theirs');
    insert into cron.job_run_details
    select jobid, now() - age from cron.job, unnest(array['2 days', '1 hour']::interval[]) age;`);
  const [{ forgotten } = {}] = await sql`select tunebase_internal.prune_cron_runs()::int as forgotten`;
  const left = await sql`select jobid::int from cron.job_run_details order by jobid`;
  assertEquals([forgotten, left.map(({ jobid }) => jobid)], [1, [1, 2, 2]]);
});

const model = "SmolLM2-135M-Instruct";

Deno.test("a one-step plan warns in the estimate and in the job's events", async () => {
  const file = (await (await upload(user, { file: rowsFile() })).json()).id;
  const body = { model, training_file: file, hyperparameters: { n_epochs: 1 } };
  const { warnings } = await (await post(user, "/fine_tuning/estimates", body)).json();
  assertStringIncludes(warnings[0], "The run has only one step for 2 rows (n_epochs 1, batch_size 8)");
  const job = await (await post(user, "/fine_tuning/jobs", body)).json();
  const events = (await user.openai.fineTuning.jobs.listEvents(job.id)).data;
  assert(
    events.some(({ level, message }) => level === "warn" && message.startsWith("The run has only one step")),
  );
  const more = { ...body, hyperparameters: { n_epochs: 4 } };
  assertEquals((await (await post(user, "/fine_tuning/estimates", more)).json()).warnings, []);
});

Deno.test("a warm-up that covers every step warns, or is rejected if the step count is exact", async () => {
  const file = (await (await upload(user, { file: rowsFile() })).json()).id;
  const body = { model, training_file: file, hyperparameters: { n_epochs: 3, warmup_steps: 3 } };
  const refused = await problem(await post(user, "/fine_tuning/jobs", body), 400);
  assertEquals(refused.error.param, "hyperparameters.warmup_steps");
  assertStringIncludes(refused.error.message, "must be less than 3, the total number of steps");
  const fewer = { ...body, hyperparameters: { n_epochs: 3, warmup_steps: 2 } };
  assertEquals((await post(user, "/fine_tuning/estimates", fewer)).status, 200);
});

Deno.test("rejects tool-call rows for a model whose template cannot render them", async () => {
  for (const name of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
    await tunebase.platform.supabase.storage.from("tunebase-tokenizers").upload(
      `plain/${name}`,
      await Deno.readFile(new URL(`../fixtures/tokenizer/${name}`, import.meta.url)),
    );
  }
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];
  const call = { id: "c", type: "function", function: { name: "f", arguments: "{}" } };
  const calls = {
    messages: [{ role: "user", content: "q" }, { role: "assistant", tool_calls: [call] }],
    tools,
  };
  const declares = { messages: [{ role: "user", content: "q" }, { role: "assistant", content: "a" }], tools };
  const of = async (row: unknown) => {
    const text = Array(20).fill(JSON.stringify(row)).join("\n");
    return (await (await upload(user, { file: rowsFile(text) })).json()).id;
  };
  const [withCalls, withTools] = [await of(calls), await of(declares)];
  await sql`update tunebase.base_models set tokenizer = 'plain' where id = ${model}`;
  try {
    for (const path of ["/fine_tuning/jobs", "/fine_tuning/estimates"]) {
      // The second time from the cached count.
      const refused = await problem(await post(user, path, { model, training_file: withCalls }), 400);
      assertEquals([refused.error.param, refused.errors.length], ["model", 1]);
      assertStringIncludes(
        refused.error.message,
        "its chat template does not support tool calls, which training_file",
      );
    }
    const { warnings } =
      await (await post(user, "/fine_tuning/estimates", { model, training_file: withTools })).json();
    assert(warnings.some((text: string) => text.startsWith("Rows declare tools")), JSON.stringify(warnings));
  } finally {
    await sql`update tunebase.base_models set tokenizer = null where id = ${model}`;
  }
});

Deno.test("the functions use only types that exist in Deno 2.1, like the hosted runtime", async () => {
  const folder = new URL("../../supabase/functions/", import.meta.url);
  const found: string[] = [];
  const search = async (at: URL): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(at)) {
      const here = new URL(isDirectory ? `${name}/` : name, at);
      if (isDirectory) await search(here);
      else if (name.endsWith(".ts") && /\bUint8Array</.test(await Deno.readTextFile(here))) found.push(name);
    }
  };
  await search(folder);
  assertEquals(found, []);
});
