/** Large files: multipart uploads, direct uploads to Storage, and their validation in chunks. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import OpenAI from "openai";
import { Upload } from "tus-js-client";
import { platform } from "../../supabase/functions/_shared/platform.ts";
import { validate } from "../../supabase/functions/_shared/datasets/validator.ts";
import { CpuBudget } from "../../supabase/functions/tunebase-scheduler/cpu_budget.ts";
import { validateFiles } from "../../supabase/functions/tunebase-scheduler/file_validation/validate_files.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const sliceBytes = 65_536;
const tunebase = await startTunebase({ TUNEBASE_VALIDATION_CHUNK_BYTES: String(sliceBytes) });
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const user = await tunebase.user();
const scheduler = platform("TUNEBASE_SCHEDULER_DB_URL", { get: (name) => tunebase.env[name] });
scheduler.waitUntil = () => {};
Deno.test.afterAll(() => scheduler.db.close());

const model = "SmolLM2-135M-Instruct";
const text = new TextEncoder();
const row = (question: string) =>
  JSON.stringify({ messages: [{ role: "user", content: question }, { role: "assistant", content: "ok" }] });
/** Rows of many lengths, so that parts and slices end anywhere. */
function rows(count: number, length = 200): Uint8Array<ArrayBuffer> {
  return text.encode(
    Array.from({ length: count }, (_, i) => row(`${i} ü ${"word ".repeat((i * 7919) % length)}`)).join("\n"),
  );
}
const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Uploads with the official SDK in parts of these sizes, the last of what is left. */
async function upload(by: TestUser, bytes: Uint8Array<ArrayBuffer>, sizes: number[], hash?: string) {
  const made = await by.openai.uploads.create({
    bytes: bytes.length,
    filename: "../rows.jsonl",
    mime_type: "application/jsonl",
    purpose: "fine-tune",
  });
  const ids: string[] = [];
  let at = 0;
  for (const size of [...sizes, Infinity]) {
    const data = new File([bytes.subarray(at, at + size)], "part");
    at += size;
    ids.push((await by.openai.uploads.parts.create(made.id, { data })).id);
  }
  const done = await by.openai.uploads.complete(made.id, { part_ids: ids, ...(hash ? { md5: hash } : {}) });
  assert(done.file);
  return { upload: done, fileId: done.file.id };
}
async function settle(): Promise<void> {
  while ((await tunebase.tick()).validated > 0);
}
async function file(id: string, by = user) {
  const response = await by.fetch(`/files/${id}`);
  const body = await response.json();
  assertEquals(response.status, 200, JSON.stringify(body));
  return body;
}
const content = async (id: string) =>
  new Uint8Array(await (await user.fetch(`/files/${id}/content`)).arrayBuffer());
const objects = async () =>
  (await sql<{ name: string }[]>`select name from storage.objects order by name`).map(({ name }) => name);
const code = async (response: Response) => [response.status, (await response.json()).error?.code];
const post = (path: string, body: unknown, by = user) =>
  by.fetch(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });

Deno.test("a multipart upload becomes one file with the report and hash of its bytes", async () => {
  const bytes = rows(300);
  const { upload: done, fileId } = await upload(user, bytes, [1000, 70_001, 3], md5(bytes));
  assertEquals([done.object, done.status, done.bytes, done.filename], [
    "upload",
    "completed",
    bytes.length,
    "rows.jsonl",
  ]);
  assertEquals((await file(fileId)).status, "uploaded");
  assertEquals(await code(await user.fetch(`/files/${fileId}/content`)), [409, "file_not_ready"]);
  await settle();
  const checked = await user.openai.files.waitForProcessing(fileId, { pollInterval: 10 });
  assertEquals(checked.status, "processed");
  const { report, sha256: hash } = await file(fileId);
  assertEquals(report, JSON.parse(JSON.stringify(validate(bytes))));
  assertEquals([hash, await content(fileId)], [sha256(bytes), bytes]);
  await settle();
  assertEquals((await objects()).filter((name) => name.startsWith("parts/")), [], "the parts are removed");
});

Deno.test("complete determines the part order, and omitted parts are removed", async () => {
  const bytes = rows(50);
  const made = await user.openai.uploads.create({
    bytes: bytes.length,
    filename: "a.jsonl",
    mime_type: "text/plain",
    purpose: "fine-tune",
  });
  const part = async (data: Uint8Array<ArrayBuffer>) =>
    (await user.openai.uploads.parts.create(made.id, { data: new File([data], "x") })).id;
  const [second, stray, first] = await Promise.all([
    part(bytes.subarray(500)),
    part(text.encode("stray")),
    part(bytes.subarray(0, 500)),
  ]);
  const done = await user.openai.uploads.complete(made.id, { part_ids: [first, second] });
  assert(stray && done.file);
  assertEquals(
    (await user.openai.uploads.complete(made.id, { part_ids: [first, second] })).file?.id,
    done.file.id,
  );
  await settle();
  assertEquals(await content(done.file.id), bytes);
  assertEquals((await objects()).filter((name) => name.startsWith("parts/")), []);
});

Deno.test("a one-part upload reuses the part's object without copying", async () => {
  const bytes = rows(20);
  const { fileId } = await upload(user, bytes, []);
  assertEquals(await content(fileId), bytes);
  await settle();
  assertEquals([(await file(fileId)).status, await content(fileId)], ["processed", bytes]);
});

Deno.test("OpenAI's Python SDK can upload in parts", async () => {
  const { success, stdout, stderr } = await new Deno.Command("trainer/.venv/bin/python", {
    args: [
      "tests/files/openai_uploads.py",
      `${tunebase.url}/functions/v1/tunebase`,
      user.apiKey,
      new TextDecoder().decode(rows(40)),
    ],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const { file: id, ...rest } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(rest, {
    chunked: ["completed", "uploaded", true],
    part: ["upload.part", true],
    refused: "upload_size",
    cancelled: "cancelled",
  });
  await settle();
  assertEquals((await file(id)).status, "processed");
});

Deno.test("a file with a wrong MD5 or an invalid row ends in status error with the reason", async () => {
  const bytes = rows(30);
  const changed = (await upload(user, bytes, [100], "0".repeat(32))).fileId;
  const broken = (await upload(user, text.encode(`${row("a")}\n{"messages": 5}\n${row("b")}`), [40])).fileId;
  await settle();
  assertEquals((await file(changed)).status, "error");
  assertStringIncludes((await file(changed)).status_details, `MD5 is ${md5(bytes)}, but ${"0".repeat(32)}`);
  const invalid = await file(broken);
  assertEquals(invalid.status, "error");
  assertStringIncludes(
    invalid.status_details,
    "1 row is invalid. Line 2: messages must be a non-empty array",
  );
  assertEquals([invalid.report.errors[0].line, invalid.report.rows, invalid.report.trainable_rows], [
    2,
    3,
    2,
  ]);
  const listed = (await user.openai.files.list({ limit: 1 })).data[0];
  assert(
    listed && !("errors" in (listed as unknown as { report: object }).report),
    "a list omits the rows' errors",
  );
  assertEquals(await code(await post("/fine_tuning/jobs", { model, training_file: broken })), [
    409,
    "file_not_ready",
  ]);
});

const announced = { bytes: 10, filename: "a.jsonl", mime_type: "text/plain", purpose: "fine-tune" };
const wrongUploads: [string, unknown, number, string][] = [
  ["without bytes", { ...announced, bytes: undefined }, 400, "bytes"],
  ["of no bytes", { ...announced, bytes: 0 }, 400, "bytes"],
  ["of more than 8 GiB", { ...announced, bytes: 9 * 2 ** 30 }, 413, "bytes"],
  ["for another purpose", { ...announced, purpose: "vision" }, 400, "purpose"],
  ["with an unknown field", { ...announced, colour: 1 }, 400, "colour"],
  [
    "that expires in a minute",
    { ...announced, expires_after: { anchor: "created_at", seconds: 60 } },
    400,
    "expires_after.seconds",
  ],
];
for (const [what, body, status, param] of wrongUploads) {
  Deno.test(`rejects an upload ${what}, naming ${param}`, async () => {
    const response = await post("/uploads", body);
    assertEquals([response.status, (await response.json()).error.param], [status, param]);
  });
}

/** The UUID in an id, as objects are named by it. */
const dashed = (id: string) =>
  id.replace(/^[a-z]+[-_]/, "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
async function begun(by = user): Promise<string> {
  return (await (await post("/uploads", announced, by)).json()).id;
}
async function sendPart(id: string, form: FormData, by = user): Promise<Response> {
  return await by.fetch(`/uploads/${id}/parts`, { method: "POST", body: form });
}
function formOf(entries: [string, string | Blob][]): FormData {
  const form = new FormData();
  for (const [name, value] of entries) form.append(name, value);
  return form;
}
const data = new Blob(["12345"]);
const wrongParts: [string, FormData, number, string][] = [
  ["with another field than data", formOf([["file", data]]), 400, "invalid_multipart"],
  ["with no field at all", formOf([]), 400, "invalid_multipart"],
  ["with two parts", formOf([["data", data], ["data", data]]), 400, "invalid_multipart"],
  ["with a field that is no part", formOf([["data", "12345"]]), 400, "invalid_multipart"],
  ["with more bytes than announced", formOf([["data", new Blob(["x".repeat(11)])]]), 400, "upload_size"],
  ["of more than 64 MiB", formOf([["data", new Blob([new Uint8Array(64 * 2 ** 20 + 1)])]]), 413, "too_large"],
];
for (const [what, form, status, expected] of wrongParts) {
  Deno.test(`rejects a part ${what} and leaves nothing in Storage`, async () => {
    const before = await objects();
    assertEquals(await code(await sendPart(await begun(), form)), [status, expected]);
    assertEquals(await objects(), before);
  });
}

Deno.test("rejects a body that is not a form or is truncated", async () => {
  const id = await begun();
  const send = (body: string, type: string) =>
    user.fetch(`/uploads/${id}/parts`, { method: "POST", body, headers: { "content-type": type } });
  assertEquals(await code(await send("{}", "application/json")), [400, "invalid_multipart"]);
  assertEquals(await code(await send("", "multipart/form-data")), [400, "invalid_multipart"]);
  const cut = '--b\r\ncontent-disposition: form-data; name="data"; filename="a"\r\n\r\n123';
  assertEquals(await code(await send(cut, "multipart/form-data; boundary=b")), [400, "invalid_multipart"]);
});

Deno.test("rejects foreign, unknown or duplicate parts, and missing bytes", async () => {
  const [id, other] = [await begun(), await begun()];
  const part = (await (await sendPart(id, formOf([["data", data]]))).json()).id;
  const strange = (await (await sendPart(other, formOf([["data", data]]))).json()).id;
  const complete = async (part_ids: string[]) =>
    await code(await post(`/uploads/${id}/complete`, { part_ids }));
  assertEquals(await complete([part, strange]), [400, "part_not_found"]);
  assertEquals(await complete([part, part]), [400, "part_not_found"]);
  assertEquals(await complete(["part_x"]), [400, "part_not_found"]);
  assertEquals(await complete([part]), [400, "upload_size"]);
  assertEquals(await complete([]), [400, "invalid_request"]);
});

Deno.test("another project's upload returns 404", async () => {
  const bob = await tunebase.user();
  const id = await begun();
  const part = (await (await sendPart(id, formOf([["data", data]]))).json()).id;
  assertEquals(await code(await sendPart(id, formOf([["data", data]]), bob)), [404, "upload_not_found"]);
  assertEquals(await code(await post(`/uploads/${id}/complete`, { part_ids: [part] }, bob)), [
    404,
    "upload_not_found",
  ]);
  assertEquals(await code(await post(`/uploads/${id}/cancel`, {}, bob)), [404, "upload_not_found"]);
  assertEquals(await code(await bob.fetch(`/files/direct/${id}`)), [404, "upload_not_found"]);
});

Deno.test("a cancelled upload accepts no parts, and its parts are removed", async () => {
  const id = await begun();
  await sendPart(id, formOf([["data", data]]));
  assertEquals((await user.openai.uploads.cancel(id)).status, "cancelled");
  assertEquals((await user.openai.uploads.cancel(id)).status, "cancelled", "again is no error");
  assertEquals(await code(await sendPart(id, formOf([["data", data]]))), [409, "upload_not_pending"]);
  await settle();
  assertEquals((await objects()).filter((name) => name.includes(dashed(id))), []);
});

Deno.test("an upload expires after an hour, and its parts are removed, even late ones", async () => {
  const id = await begun();
  const part = (await (await sendPart(id, formOf([["data", data]]))).json()).id;
  // As after a crash between Storage and the database.
  await sql`update tunebase_internal.upload_parts set bytes = null where upload_id in
    (select id from tunebase_internal.uploads order by id desc limit 1)`;
  await sendPart(id, formOf([["data", data]]));
  const mine = async () => (await objects()).filter((name) => name.includes(dashed(id))).length;
  assertEquals(await mine(), 2);
  await sql`update tunebase_internal.uploads set expires_at = now() where status = 'pending'`;
  assertEquals(await code(await post(`/uploads/${id}/complete`, { part_ids: [part] })), [
    409,
    "upload_not_pending",
  ]);
  await settle();
  assertEquals(await mine(), 1, "an object that may still arrive is removed later");
  await sql`update tunebase_internal.orphaned_objects set next_at = now()`;
  await settle();
  assertEquals(await mine(), 0);
});

Deno.test("an expired file is removed with its bytes, unless a job needs it", async () => {
  const form = formOf([["purpose", "fine-tune"], ["file", new File([row("a")], "a.jsonl")]]);
  form.append("expires_after[anchor]", "created_at");
  form.append("expires_after[seconds]", "3600");
  const made = await (await user.fetch("/files", { method: "POST", body: form })).json();
  assertEquals(made.expires_at - made.created_at, 3600);
  const job = await user.openai.fineTuning.jobs.create({ model, training_file: made.id });
  await sql`update tunebase.files set expires_at = now() where expires_at is not null`;
  await settle();
  assertEquals((await file(made.id)).id, made.id);
  await user.openai.fineTuning.jobs.cancel(job.id);
  await settle();
  assertEquals((await user.fetch(`/files/${made.id}`)).status, 404);
});

/** A direct upload with a stock TUS client, in chunks of the size that Storage requires. */
function send(target: Record<string, string | number>, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) =>
    new Upload(Buffer.from(bytes), {
      endpoint: String(target.endpoint),
      headers: { "x-signature": String(target.token) },
      metadata: {
        bucketName: String(target.bucket),
        objectName: String(target.object),
        contentType: String(target.content_type),
      },
      chunkSize: Number(target.chunk_bytes),
      onSuccess: () => resolve(),
      onError: reject,
    }).start()
  );
}

Deno.test("a direct upload goes to Storage, and its token cannot modify the file", async () => {
  const bytes = rows(400);
  const begin = await post("/files/direct", {
    filename: "big.jsonl",
    bytes: bytes.length,
    purpose: "fine-tune",
  });
  const made = await begin.json();
  assertEquals([begin.status, made.object, made.status], [200, "upload", "pending"]);
  assertEquals(await code(await post(`/files/direct/${made.id}/complete`, {})), [409, "upload_missing"]);
  await send((await (await user.fetch(`/files/direct/${made.id}`)).json()).target, bytes);
  const done = await (await post(`/files/direct/${made.id}/complete`, {})).json();
  assertEquals([done.object, done.status, done.filename, done.bytes], [
    "file",
    "uploaded",
    "big.jsonl",
    bytes.length,
  ]);
  assertEquals((await (await post(`/files/direct/${made.id}/complete`, {})).json()).id, done.id);
  assertEquals((await (await user.fetch(`/files/direct/${made.id}`)).json()).target, null);
  await send(made.target, rows(1)); // the token is still valid
  await settle();
  const checked = await file(done.id);
  assertEquals([checked.status, checked.sha256], ["processed", sha256(bytes)]);
  assertEquals(await content(done.id), bytes);
});

Deno.test("a direct upload with a wrong size is rejected and can be sent again", async () => {
  const bytes = rows(3);
  const made =
    await (await post("/files/direct", { filename: "a", bytes: bytes.length, purpose: "fine-tune" })).json();
  await send(made.target, rows(2));
  assertEquals(await code(await post(`/files/direct/${made.id}/complete`, {})), [400, "upload_size"]);
  await send(made.target, bytes);
  assertEquals((await post(`/files/direct/${made.id}/complete`, {})).status, 200);
  const large = await post("/files/direct", { filename: "a", bytes: 6 * 2 ** 30, purpose: "fine-tune" });
  assertEquals(await code(large), [413, "too_large"]);
});

/** A file that waits for its check, uploaded directly. */
async function waiting(bytes: Uint8Array): Promise<string> {
  const made =
    await (await post("/files/direct", { filename: "w", bytes: bytes.length, purpose: "fine-tune" })).json();
  await send(made.target, bytes);
  return (await (await post(`/files/direct/${made.id}/complete`, {})).json()).id;
}
const uuid = (id: string) => id.replace(/^\w+-/, "");

Deno.test("validation in chunks across calls gives the same report as in one pass", async () => {
  const bytes = text.encode(
    `${new TextDecoder().decode(rows(900))}\n${row("0 ü ")}\n${row("x".repeat(200_000))}\n`,
  );
  const id = await waiting(bytes);
  let steps = 0;
  // A budget that is used up immediately: each call validates one chunk.
  while (await validateFiles(scheduler, new CpuBudget(0.001)) > 0) steps += 1;
  assert(steps > bytes.length / sliceBytes / 4, `${steps} steps for ${bytes.length} bytes`);
  const { report, status, sha256: hash } = await file(id);
  assertEquals([status, hash], ["processed", sha256(bytes)]);
  assertEquals(report, JSON.parse(JSON.stringify(validate(bytes))));
  assertEquals(report.duplicates.rows, 1);
});

Deno.test("validation that is killed repeatedly gives the same report", async () => {
  const bytes = text.encode(`${new TextDecoder().decode(rows(5000, 1200))}\nnot json\n`);
  // The copy takes three chunks of 6 MiB.
  assert(bytes.length > 12.6e6);
  const third = Math.floor(bytes.length / 3);
  const { fileId: id } = await upload(user, bytes, [third, third + 1], md5(bytes));
  const done = async () =>
    (await sql`select 1 from tunebase.files where id = ${uuid(id)}::uuid and status = 'uploaded'`).length ===
      0;
  let kills = 0;
  for (let tries = 0; !await done(); tries++) {
    assert(tries < 40, "it never ends");
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--quiet", "tests/files/validate_files.ts"],
      env: { ...tunebase.env, TUNEBASE_VALIDATION_CHUNK_BYTES: String(2 ** 20) },
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read(); // it has started
    // The first three make almost no progress on any machine; then each gets further.
    const timer = setTimeout(() => child.kill("SIGKILL"), tries < 3 ? 60 : 150 * (tries - 1));
    while (!(await reader.read()).done);
    clearTimeout(timer);
    const { signal } = await child.status;
    if (signal === "SIGKILL") kills += 1;
    // The killed one's lease expires.
    await sql`update tunebase_internal.file_validations set next_at = now()`;
  }
  assert(kills >= 3, `killed only ${kills} times`);
  const { report, status, status_details } = await file(id);
  assertEquals(status, "error");
  assertStringIncludes(status_details, "Line 5001: is not valid JSON");
  assertEquals(report, JSON.parse(JSON.stringify(validate(bytes))));
  const [{ sha256: hash } = {}] = await sql`select sha256 from tunebase.files where id = ${uuid(id)}::uuid`;
  assertEquals(hash, sha256(bytes));
  assertEquals(md5(await content(id)), md5(bytes), "the copy is whole");
});

Deno.test("validation of a file with missing bytes is retried and finally fails", async () => {
  const id = await waiting(rows(5));
  const [{ object } = {}] = await sql`select object from tunebase.files where id = ${uuid(id)}::uuid`;
  await tunebase.platform.supabase.storage.from("tunebase-datasets").remove([object]);
  await tunebase.tick();
  const [check] =
    await sql`select failures, next_at > now() as later from tunebase_internal.file_validations`;
  assertEquals([check?.failures, check?.later], [1, true]);
  for (let i = 0; i < 11; i++) {
    await sql`update tunebase_internal.file_validations set next_at = now()`;
    await tunebase.tick();
  }
  assertStringIncludes((await file(id)).status_details, "could not be read from Storage");
});

Deno.test("a file deleted while it waits for validation leaves nothing behind", async () => {
  const { fileId } = await upload(user, rows(30), [100]);
  assertEquals((await user.openai.files.delete(fileId)).deleted, true);
  await settle();
  assertEquals([...await sql`select 1 from tunebase_internal.file_validations`], []);
  await sql`update tunebase_internal.orphaned_objects set next_at = now()`;
  await settle();
  assertEquals((await objects()).filter((name) => name.includes(dashed(fileId))), []);
});

/** A job whose training file is being validated. */
async function jobOf(training_file: string, more: object = {}) {
  const response = await post("/fine_tuning/jobs", { model, training_file, ...more });
  const job = await response.json();
  assertEquals([response.status, job.status], [200, "validating_files"], JSON.stringify(job));
  return String(job.id);
}
const events = async (id: string) =>
  (await user.openai.fineTuning.jobs.listEvents(id)).data.map(({ message }) => message);

Deno.test("a job waits for its file's validation and is queued when it passes", async () => {
  const id = await waiting(rows(3));
  const job = await jobOf(id);
  assertEquals((await events(job))[0], "The job is waiting until its files are validated.");
  assertEquals(await code(await user.fetch(`/files/${id}`, { method: "DELETE" })), [409, "file_in_use"]);
  while (await validateFiles(scheduler) > 0);
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job)).status, "queued");
  assertEquals((await events(job))[0], "Files are valid; the job is queued for a GPU.");
});

Deno.test("a job with an invalid file fails with the reason, even if paused", async () => {
  const id = await waiting(text.encode("nonsense"));
  const [job, paused] = [await jobOf(id), await jobOf(id)];
  await user.openai.fineTuning.jobs.pause(paused);
  while (await validateFiles(scheduler) > 0);
  for (const one of [job, paused]) {
    const { status, error } = await user.openai.fineTuning.jobs.retrieve(one);
    assertEquals([status, error?.code, error?.param], ["failed", "invalid_file", "training_file"]);
    assertStringIncludes(error?.message ?? "", "The training file is not valid: 1 row is invalid");
  }
});

Deno.test("a job whose file has rows for the other method fails", async () => {
  const answer = (content: string) => [{ role: "assistant", content }];
  const row = JSON.stringify({
    input: { messages: [{ role: "user", content: "hi" }] },
    preferred_output: answer("yes"),
    non_preferred_output: answer("no"),
  });
  const [pairs, chat] = [await waiting(text.encode(`${row}\n${row}\n`)), await waiting(rows(3))];
  const dpo = { method: { type: "dpo" } };
  const right = await jobOf(pairs, dpo);
  const wrong = [
    await jobOf(pairs),
    await jobOf(chat, dpo),
    await jobOf(pairs, { ...dpo, validation_file: chat }),
  ];
  while (await validateFiles(scheduler) > 0);
  assertEquals((await user.openai.fineTuning.jobs.retrieve(right)).status, "queued");
  const found = await Promise.all(wrong.map((id) => user.openai.fineTuning.jobs.retrieve(id)));
  assertEquals(found.map(({ status, error }) => [status, error?.code, error?.param]), [
    ["failed", "invalid_file", "training_file"],
    ["failed", "invalid_file", "training_file"],
    ["failed", "invalid_file", "validation_file"],
  ]);
  assertStringIncludes(found[0]?.error?.message ?? "", 'has preference rows, which method "supervised"');
  assertStringIncludes(found[1]?.error?.message ?? "", 'has chat rows, which method "dpo"');
});

Deno.test("a job paused and resumed during validation still waits for it", async () => {
  const job = await jobOf(await waiting(rows(3)));
  await user.openai.fineTuning.jobs.pause(job);
  assertEquals((await user.openai.fineTuning.jobs.resume(job)).status, "validating_files");
  while (await validateFiles(scheduler) > 0);
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job)).status, "queued");
});

Deno.test("a job with auto_start false waits for start after validation", async () => {
  const job = await jobOf(await waiting(rows(3)), { auto_start: false });
  while (await validateFiles(scheduler) > 0);
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job)).status as string, "paused");
  assertEquals((await events(job))[0], "Files are valid; the job is waiting to be started.");
  assertEquals((await (await post(`/fine_tuning/jobs/${job}/start`, {})).json()).status, "queued");
});

Deno.test("rows present in both files of a job are reported in its events", async () => {
  const upload = async (name: string, ...questions: string[]) => {
    const form = formOf([["purpose", "fine-tune"], [
      "file",
      new File([questions.map(row).join("\n")], name),
    ]]);
    return (await (await user.fetch("/files", { method: "POST", body: form })).json()).id;
  };
  const training_file = await upload("t", "a", "b", "c", "c");
  const validation_file = await upload("v", "c", "d", "a");
  const job = await user.openai.fineTuning.jobs.create({ model, training_file, validation_file });
  assertStringIncludes(
    (await events(job.id))[0] ?? "",
    "2 rows of the validation file are also in the training file",
  );
  const overlap = async (other: string) =>
    await (await user.fetch(`/files/${validation_file}/overlap/${other}`)).json();
  assertEquals(await overlap(training_file), {
    object: "file.overlap",
    file: validation_file,
    other_file: training_file,
    rows: 2,
    exact: true,
    distinct_rows: 3,
    other_distinct_rows: 3,
  });
  const pending = await waiting(rows(1));
  assertEquals((await overlap(pending)).error.code, "file_not_ready");
  const apart = await upload("w", "d", "e");
  const other = await user.openai.fineTuning.jobs.create({ model, training_file, validation_file: apart });
  assertEquals((await events(other.id))[0], "Files are valid; the job is queued for a GPU.");
  // One with a pending validation.
  const waited = await jobOf(await waiting(text.encode(["d", "x"].map(row).join("\n"))), { validation_file });
  while (await validateFiles(scheduler) > 0);
  assertStringIncludes((await events(waited))[0] ?? "", "1 rows of the validation file");
});

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(
    await new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
  );
}

Deno.test("a small gzip file is decompressed up to a limit", async () => {
  const bytes = rows(50);
  const packed = await gzip(bytes);
  const create = (data: Uint8Array<ArrayBuffer>) =>
    user.openai.files.create({ file: new File([data], "rows.jsonl.gz"), purpose: "fine-tune" });
  const made = await create(packed);
  assertEquals([made.filename, made.bytes], ["rows.jsonl", bytes.length]);
  assertEquals(await content(made.id), bytes);
  const cut = await assertRejects(() => create(packed.subarray(0, -20)), OpenAI.BadRequestError);
  assertStringIncludes(String(cut), "damaged or truncated");
  const bomb = await gzip(new Uint8Array(40 * 2 ** 20));
  assertStringIncludes(String(await assertRejects(() => create(bomb))), "decompresses to more than 32 MiB");
  const id = await waiting(packed);
  await settle();
  assertStringIncludes((await file(id)).status_details, "is compressed with gzip. Decompress it");
});
