/** Files in other formats through the API: converted during validation, with their originals kept. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { createHash } from "node:crypto";
import { platform } from "../../supabase/functions/_shared/platform.ts";
import { CpuBudget } from "../../supabase/functions/tunebase-scheduler/cpu_budget.ts";
import { validateFiles } from "../../supabase/functions/tunebase-scheduler/file_validation/validate_files.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const sliceBytes = 2 ** 20;
const tunebase = await startTunebase({ TUNEBASE_VALIDATION_CHUNK_BYTES: String(sliceBytes) });
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const user = await tunebase.user();
const scheduler = platform("TUNEBASE_SCHEDULER_DB_URL", { get: (name) => tunebase.env[name] });
scheduler.waitUntil = () => {};
Deno.test.afterAll(() => scheduler.db.close());

const model = "SmolLM2-135M-Instruct";
const utf8 = new TextEncoder();
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const chat = (question: string, answer: string) =>
  JSON.stringify({ messages: [{ role: "user", content: question }, { role: "assistant", content: answer }] });

async function send(text: string, name: string, by = user): Promise<Response> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new Blob([text]), name);
  return await by.fetch("/files", { method: "POST", body: form });
}
async function upload(text: string, name: string, by = user) {
  const response = await send(text, name, by);
  const body = await response.json();
  assertEquals(response.status, 200, JSON.stringify(body));
  return body;
}
const get = async (id: string, by = user) => await (await by.fetch(`/files/${id}`)).json();
const content = async (id: string) => await (await user.fetch(`/files/${id}/content`)).text();
async function settle(): Promise<void> {
  while ((await tunebase.tick()).validated > 0);
}
const objects = async (by: TestUser) =>
  (await sql<{ name: string }[]>`
    select name from storage.objects where bucket_id = 'tunebase-datasets' and name like ${`${by.projectId}/%`}`)
    .map(({ name }) => name).sort();
const rowOf = async (id: string) =>
  (await sql`select * from tunebase.files where replace(id::text, '-', '') = ${id.slice(5)}`)[0] ?? {};
async function stored(object: unknown): Promise<string> {
  const { data, error } = await scheduler.supabase.storage.from("tunebase-datasets").download(String(object));
  if (error !== null) throw error;
  return await data.text();
}
const remove = async (id: string, by: TestUser) =>
  await (await by.fetch(`/files/${id}`, { method: "DELETE" })).text();
async function sweep(): Promise<void> {
  await sql`update tunebase_internal.orphaned_objects set next_at = now()`;
  await tunebase.tick();
}

Deno.test("a CSV file is converted: the API returns the original, and training uses the converted rows", async () => {
  const csv = "id,prompt,completion\n1,a,b\n2,c,d\n3,e,f\n4,g,h\n";
  const rows = ["ab", "cd", "ef", "gh"].map(([question = "", answer = ""]) => chat(question, answer));
  const canonical = rows.map((row) => `${row}\n`).join("");
  const file = await upload(csv, "rows.csv");
  assertEquals(
    [file.status, file.source_format, file.bytes, file.sha256, file.filename],
    ["processed", "prompt_completion_csv", csv.length, sha256(csv), "rows.csv"],
  );
  assertEquals(file.conversion, {
    rows: 4,
    ignored_fields: ["id"],
    sample: [0, 1, 2].map((i) => ({
      line: i + 2,
      before: JSON.stringify({ id: `${i + 1}`, prompt: "ace"[i], completion: "bdf"[i] }),
      after: rows[i],
    })),
  });
  assertEquals([file.report.format, file.report.rows, file.report.errors], ["chat", 4, []]);
  assertEquals(await get(file.id), file);
  assertEquals(await content(file.id), csv);
  const listed = (await user.openai.files.list({ limit: 1 })).data[0];
  assertEquals((listed as unknown as typeof file).conversion, { rows: 4, ignored_fields: ["id"] });

  const job = await user.openai.fineTuning.jobs.create({ model, training_file: file.id });
  await tunebase.tick();
  const claimed = await new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id).claim();
  assertEquals(await (await fetch(String(claimed.dataset_url))).text(), canonical);
  assertEquals(claimed.dataset_sha256, sha256(canonical));
  await user.openai.fineTuning.jobs.cancel(job.id);
});

const brightrunPair = (n: number, target: string | null = `answer ${n}`) => ({
  system_prompt: "s",
  conversation_history: [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
    { role: "user", content: `question ${n}` },
  ],
  current_user_input: `question ${n}`,
  target_response: target,
});
const brightrunRow = (n: number) =>
  JSON.stringify({
    messages: [
      { role: "system", content: "s" },
      { role: "user", content: "a" },
      { role: "assistant", content: "b", weight: 0 },
      { role: "user", content: `question ${n}` },
      { role: "assistant", content: `answer ${n}` },
    ],
  });
const brightrun = [brightrunPair(1), brightrunPair(2, null), brightrunPair(3)];
const meta = { version: "4.0.0", total_pairs: 3 };
for (
  const [format, original, rows] of [
    [
      "prompt_completion_jsonl",
      '{"prompt": "a", "completion": "b"}\r\n\r\n{"id": 1, "prompt": "c", "completion": "d"}',
      [chat("a", "b"), chat("c", "d")],
    ],
    [
      "brightrun-lora-v4_jsonl",
      [{ _meta: meta }, ...brightrun].map((row) => `${JSON.stringify(row)}\n`).join(""),
      [brightrunRow(1), brightrunRow(3)],
    ],
    [
      "brightrun-lora-v4_json",
      JSON.stringify(
        { training_file_metadata: meta, conversations: [{ training_pairs: brightrun }] },
        null,
        1,
      ),
      [brightrunRow(1), brightrunRow(3)],
    ],
  ] as const
) {
  const canonical = rows.map((row) => `${row}\n`).join("");
  Deno.test(`${format} is converted in the request and in the background, and its original is kept`, async () => {
    const by = await tunebase.user();
    const inRequest = await upload(original, "rows.jsonl", by);
    assertEquals(inRequest.status, "processed");
    const id = await inParts(original, [40], await tunebase.user());
    await settle();
    for (const file of [await rowOf(inRequest.id), await rowOf(id)]) {
      assertEquals([file.source_format, file.conversion.rows, file.report.format], [format, 2, "chat"]);
      assertEquals(file.conversion.sample.map(({ after }: { after: string }) => after), rows);
      assertEquals([await stored(file.object), await stored(file.original_object)], [canonical, original]);
    }
    assertEquals(await (await by.fetch(`/files/${inRequest.id}/content`)).text(), original);
  });
}

Deno.test("a canonical file is reported as not converted and has one object", async () => {
  const by = await tunebase.user();
  const file = await upload(`${chat("a", "b")}\n`, "rows.jsonl", by);
  assertEquals([file.source_format, file.conversion], [null, null]);
  assertEquals((await objects(by)).length, 1);
});

Deno.test("rejects a row that cannot be converted with its line, field and value", async () => {
  const response = await send("instruction,output\na,b\nc,\n", "rows.csv");
  const { error } = await response.json();
  assertEquals([response.status, error.code], [400, "invalid_file"]);
  assertEquals(error.message.startsWith("file, line 3: output is missing."), true, error.message);
  const unknown = await (await send("promt,answer\na,b\nc,d\n", "rows.csv")).json();
  assertStringIncludes(unknown.error.message, 'Did you mean "prompt"?');
});

Deno.test("identical files share their objects, and deleting the last one removes both", async () => {
  const by = await tunebase.user();
  const csv = "prompt,completion\na,b\n";
  const one = await upload(csv, "one.csv", by);
  const before = await objects(by);
  assertEquals(before.length, 2);
  const two = await upload(csv, "two.csv", by);
  // Its rows are there already, its own original is not: it gets objects of its own.
  const three = await upload("prompt;completion\na;b\n", "three.csv", by);
  assertEquals((await objects(by)).length, 4);
  // Its bytes are the rows of the others.
  const canonical = await upload(`${chat("a", "b")}\n`, "rows.jsonl", by);
  assertEquals((await objects(by)).length, 4);
  await remove(one.id, by);
  await remove(canonical.id, by);
  await sweep();
  assertEquals((await objects(by)).length, 4);
  await remove(two.id, by);
  await sweep();
  const left = await rowOf(three.id);
  assertEquals(await objects(by), [left.object, left.original_object].map(String).sort());
  await remove(three.id, by);
  await sweep();
  assertEquals(await objects(by), []);
});

Deno.test("both objects count toward the quota, and both are removed when the file expires", async () => {
  const by = await tunebase.user();
  const csv = `prompt,completion\n${"question,answer\n".repeat(50)}`;
  const canonical = `${chat("question", "answer")}\n`.repeat(50);
  const room = csv.length + canonical.length;
  await sql`update tunebase.projects set max_storage_bytes = ${room - 1} where id = ${by.projectId}`;
  assertEquals((await (await send(csv, "rows.csv", by)).json()).error.code, "quota_exceeded");
  await sql`update tunebase.projects set max_storage_bytes = ${room} where id = ${by.projectId}`;
  const file = await upload(csv, "rows.csv", by);
  const [used] = await sql`select tunebase_internal.stored_bytes(${by.projectId}) as bytes`;
  assertEquals(Number(used?.bytes), room);
  assertEquals(
    (await (await send("prompt,completion\na,b\n", "b.csv", by)).json()).error.code,
    "quota_exceeded",
  );
  assertEquals((await upload(csv, "again.csv", by)).status, "processed");
  await sql`update tunebase.files set expires_at = now() where project_id = ${by.projectId}`;
  await sweep();
  await sweep();
  assertEquals(await objects(by), []);
  assertEquals((await by.fetch(`/files/${file.id}`)).status, 404);
});

/** A CSV file of rows of many lengths, and what it becomes. */
function table(count: number, seed: number, words = 100): { csv: string; canonical: string } {
  const cells = Array.from({ length: count }, (_, i) => [
    `${seed}.${i} "ü"\n${"word, ".repeat((i * 7919) % words)}`,
    `answer ${i}`,
  ]);
  return {
    csv: [
      "prompt,completion",
      ...cells.map((row) => row.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(",")),
    ]
      .join("\r\n"),
    canonical: cells.map(([question = "", answer = ""]) => `${chat(question, answer)}\n`).join(""),
  };
}
async function inParts(text: string, sizes: number[], by = user): Promise<string> {
  const bytes = utf8.encode(text);
  const made = await by.openai.uploads.create({
    bytes: bytes.length,
    filename: "rows.csv",
    mime_type: "text/csv",
    purpose: "fine-tune",
  });
  const ids: string[] = [];
  let at = 0;
  for (const size of [...sizes, Infinity]) {
    ids.push(
      (await by.openai.uploads.parts.create(made.id, {
        data: new File([bytes.subarray(at, at += size)], "p"),
      })).id,
    );
  }
  const { file } = await by.openai.uploads.complete(made.id, { part_ids: ids });
  assert(file);
  return file.id;
}

for (const [what, sizes] of [["one part", []], ["several parts", [1000, 300_001]]] as const) {
  Deno.test(`an upload of ${what} in another format is converted in the background`, async () => {
    const by = await tunebase.user();
    const { csv, canonical } = table(3000, sizes.length);
    const id = await inParts(csv, [...sizes], by);
    await settle();
    const file = await get(id, by);
    assertEquals(
      [
        file.status,
        file.source_format,
        file.bytes,
        file.sha256,
        file.conversion.rows,
        file.conversion.sample.length,
      ],
      ["processed", "prompt_completion_csv", utf8.encode(csv).length, sha256(csv), 3000, 3],
      file.status_details,
    );
    const row = await rowOf(id);
    assertEquals(await stored(row.object), canonical);
    assertEquals([row.sha256, Number(row.bytes)], [sha256(canonical), utf8.encode(canonical).length]);
    assertEquals(await (await by.fetch(`/files/${id}/content`)).text(), csv);
    await sweep();
    await sweep();
    assertEquals(
      await objects(by),
      [row.object, row.original_object].filter((name) => String(name).startsWith(by.projectId)).map(String)
        .sort(),
    );
    await remove(id, by);
    await sweep();
    assertEquals(await objects(by), []);
  });
}

Deno.test("a conversion resumes in each tick and writes the same as in one pass", async () => {
  const by = await tunebase.user();
  // Storage accepts 6 MB at a time: large enough to resume in the middle.
  const { csv, canonical } = table(9000, 3, 500);
  assert(canonical.length > 12 * 2 ** 20);
  const id = await inParts(csv, [9_000_000], by);
  let ticks = 0;
  for (; (await get(id, by)).status === "uploaded"; ticks++) {
    assert(ticks < 2000);
    assertEquals(await validateFiles(scheduler, new CpuBudget(1)), 1);
  }
  assert(ticks > 3, `${ticks}`);
  const file = await get(id, by);
  assertEquals([file.status, file.conversion?.rows], ["processed", 9000], file.status_details);
  const { object } = await rowOf(id);
  assertEquals(sha256(await stored(object)), sha256(canonical));
});

Deno.test("a conversion over the storage quota ends in an error and leaves only the original", async () => {
  const by = await tunebase.user();
  const { csv } = table(3000, 4);
  await sql`update tunebase.projects set max_storage_bytes = ${
    utf8.encode(csv).length + 1000
  } where id = ${by.projectId}`;
  const id = await inParts(csv, [], by);
  await settle();
  const file = await get(id, by);
  assertEquals(file.status, "error");
  assertStringIncludes(file.status_details, "storage");
});

Deno.test("a file deleted during conversion leaves no object behind", async () => {
  const by = await tunebase.user();
  const { csv } = table(6200, 5, 500);
  const id = await inParts(csv, [9_000_000], by);
  const begun = async () =>
    (await sql`select converted_object from tunebase_internal.file_validations where converted_object is not null`)
      .length;
  for (let ticks = 0; await begun() === 0; ticks++) {
    assert(ticks < 2000);
    await validateFiles(scheduler, new CpuBudget(1));
  }
  await validateFiles(scheduler, new CpuBudget(1));
  await remove(id, by);
  await sweep();
  await sweep();
  assertEquals(await objects(by), []);
});

Deno.test("a small file with much longer converted rows is converted in the background", async () => {
  const csv = `prompt,completion\n${"a,b\n".repeat(90_000)}`;
  const file = await upload(csv, "rows.csv");
  assertEquals(file.status, "uploaded");
  await settle();
  const done = await get(file.id);
  assertEquals([done.status, done.conversion.rows, done.bytes], ["processed", 90_000, csv.length]);
});
