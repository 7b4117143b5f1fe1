/** Files: upload, lists, rejected files, deletion. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { fileId, model, problem, row, rows, upload } from "../support/api_requests.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase({ TUNEBASE_MAX_UPLOAD_BYTES: "200000" });
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const ada = await tunebase.user();
const count = async (table: string) => Number((await sql.unsafe(`select count(*) from ${table}`))[0]?.count);

Deno.test("the official SDK can upload, read, list and delete a file", async () => {
  const file = await ada.openai.files.create({
    file: new File([rows], 'dä "ta".jsonl'),
    purpose: "fine-tune",
  });
  assertEquals([file.object, file.bytes, file.status, file.purpose], [
    "file",
    rows.length,
    "processed",
    "fine-tune",
  ]);
  assertEquals((await ada.openai.files.retrieve(file.id)).id, file.id);
  assertEquals(await (await ada.openai.files.content(file.id)).text(), rows);
  const listed = await ada.openai.files.list();
  assertEquals(listed.data[0]?.id, file.id);
  assertEquals(await ada.openai.files.delete(file.id), { id: file.id, object: "file", deleted: true });
  await assertRejects(() => ada.openai.files.retrieve(file.id));
  const { report } = await (await upload(ada)).json();
  assertEquals([report.format, report.rows, report.assistant_messages], ["chat", 2, 2]);
});

Deno.test("file lists can be paged in both directions", async () => {
  const user = await tunebase.user();
  const ids = [await fileId(user), await fileId(user), await fileId(user)];
  const newest: string[] = [];
  for await (const file of user.openai.files.list({ limit: 2 })) newest.push(file.id);
  assertEquals(newest, [...ids].reverse());
  const oldest: string[] = [];
  for await (const file of user.openai.files.list({ limit: 1, order: "asc" })) oldest.push(file.id);
  assertEquals(oldest, ids);
  assertEquals((await problem(await user.fetch("/files?limit=0"), 400)).error.param, "limit");
  await problem(await user.fetch("/files?after=nonsense"), 400);
});

const brokenFiles: [string, string | Uint8Array<ArrayBuffer>, string][] = [
  ["is empty", "", "no rows (0 bytes)"],
  ["has only blank lines", "\n \n", "no rows"],
  [
    "is not UTF-8",
    new Uint8Array([...new TextEncoder().encode(rows), 0x22, 0xff, 0xfe]),
    "line 3: is not UTF-8",
  ],
  ["has a line that is not JSON", `${row()}\n{"messages": [\n${row()}\n`, "line 2: is not valid JSON"],
  ["has a line that is not an object", `[1]\n`, "line 1: must be a JSON object"],
  ["has an unknown format", `{"text": "hello"}\n`, "line 1: has an unknown format"],
  ["has no assistant", `{"messages":[{"role":"user","content":"x"}]}\n`, "line 1: has no assistant message"],
  ["has an unknown role", `{"messages":[{"role":"robot","content":"x"}]}\n`, 'messages[0].role is "robot"'],
  [
    "has an empty message",
    `{"messages":[{"role":"user","content":" "}]}\n`,
    "messages[0].content must be a non-empty string",
  ],
  [
    "answers no call",
    `{"messages":[{"role":"tool","content":"x"}]}\n`,
    "messages[0].tool_call_id is undefined",
  ],
  ["mixes formats", `${row()}\n{"prompt":"a","completion":"b"}\n`, "line 2: is a prompt_completion row"],
  ["is too large", row("x".repeat(300_000)), "larger than"],
];
for (const [what, text, detail] of brokenFiles) {
  Deno.test(`a file that ${what} is rejected with a reason and not stored`, async () => {
    const before = [await count("tunebase.files"), await count("storage.objects")];
    const body = await problem(await upload(ada, text), what === "is too large" ? 413 : 400);
    assertStringIncludes(body.detail, detail);
    assertEquals(body.error.param, "file");
    assertEquals([await count("tunebase.files"), await count("storage.objects")], before);
  });
}

Deno.test("objects without a file row are removed after an hour; recorded files stay", async () => {
  const kept = await ada.openai.files.create({ file: new File([rows], "rows.jsonl"), purpose: "fine-tune" });
  const caller = tunebase.sql.json({ user_id: ada.id, project_id: ada.projectId });
  const [{ object } = {}] = await tunebase.sql`
    select tunebase_internal.reserve_file_object(${caller}, gen_random_uuid(), 1) as object`;
  const bucket = tunebase.platform.supabase.storage.from("tunebase-datasets");
  await bucket.upload(object, rows);
  await tunebase.tick();
  assertEquals((await bucket.exists(object)).data, true, "its request may still be under way");
  await tunebase.sql`update tunebase_internal.orphaned_objects set next_at = next_at - interval '1 hour'`;
  await tunebase.tick();
  assertEquals((await bucket.exists(object)).data, false);
  assertEquals(await (await ada.fetch(`/files/${kept.id}/content`)).text(), rows);
});

// @proves report-no-examples
Deno.test("a report lists 20 invalid lines, five of them in the message, and counts all by kind", async () => {
  const body = await problem(await upload(ada, `${"x\n".repeat(30)}${rows}`), 400);
  assertEquals(
    body.errors.map(({ line }: { line: number }) => line),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  assertEquals(body.problem_count, 30);
  const { message } = body.error;
  assertStringIncludes(message, "30 of 32 rows are invalid (not_json: 30). Line 1: is not valid JSON");
  assertStringIncludes(message, "Line 5: ");
  assert(!message.includes("Line 6: "));
  assert(message.endsWith("And 25 more."), message);
});

Deno.test("an error of every row is reported once, for the file", async () => {
  const body = await problem(await upload(ada, "x\n".repeat(30)), 400);
  assertEquals(body.errors.map(({ line }: { line?: number }) => line), [undefined]);
  assertStringIncludes(body.error.message, "file: is not valid JSON");
  assertStringIncludes(body.error.message, "in each of 30 rows.");
});

Deno.test("rejects a form with a wrong purpose, an unknown field or no file", async () => {
  const purpose = await problem(await upload(ada, rows, "assistants"), 400);
  assertEquals(purpose.error.param, "purpose");
  assertStringIncludes(purpose.detail, '"assistants"');
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("colour", "red");
  const body = await problem(await ada.fetch("/files", { method: "POST", body: form }), 400);
  assertEquals(body.errors[0].param, "colour");
  await problem(await ada.fetch("/files", { method: "POST", body: "{}" }), 400);
});

Deno.test("a file in use by a job cannot be deleted until the job ends", async () => {
  const training_file = await fileId(ada);
  const job = await ada.openai.fineTuning.jobs.create({ model, training_file });
  await problem(await ada.fetch(`/files/${training_file}`, { method: "DELETE" }), 409);
  await ada.openai.fineTuning.jobs.cancel(job.id);
  assertEquals((await ada.openai.files.delete(training_file)).deleted, true);
});
