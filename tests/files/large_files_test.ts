/** POST /files beyond the size validated in the request: stored on arrival, validated by the scheduler. */
import { assertEquals, assertStringIncludes } from "#assert";
import { makeFile } from "../../bench/validation.ts";
import { maxInRequestBytes } from "../../supabase/functions/tunebase/incoming_file.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const user = await tunebase.user();

const large = makeFile(maxInRequestBytes + 2 ** 20);
const gzip = (bytes: Uint8Array<ArrayBuffer>) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
const objects = async () => Number((await sql`select count(*) from storage.objects`)[0]?.count);

/** The form's fields in the order given. */
function send(of: TestUser, parts: [name: string, value: string | Blob][]) {
  const form = new FormData();
  for (const [name, value] of parts) {
    if (typeof value === "string") form.append(name, value);
    else form.append(name, value, "rows.jsonl.gz");
  }
  return of.fetch("/files", { method: "POST", body: form });
}
const upload = async (of: TestUser, bytes: Uint8Array<ArrayBuffer>) =>
  await (await send(of, [["file", new Blob([bytes])], ["purpose", "fine-tune"]])).json();
async function validated(id: string) {
  for (let ticks = 0; ticks < 10; ticks++) {
    const file = await user.openai.files.retrieve(id);
    if (file.status !== "uploaded") return file;
    await tunebase.tick();
  }
  throw new Error("10 ticks did not validate it");
}

Deno.test("a large file is returned as uploaded and becomes processed after a tick, bytes unchanged", async () => {
  const file = await upload(user, large);
  assertEquals([file.status, file.bytes], ["uploaded", large.length]);
  assertEquals((await validated(file.id)).status, "processed");
  const content = new Uint8Array(await (await user.fetch(`/files/${file.id}/content`)).arrayBuffer());
  assertEquals(content.length, large.length);
  assertEquals(content, large);
});

Deno.test("a large compressed file is stored decompressed, under its own name", async () => {
  const packed = await gzip(makeFile(maxInRequestBytes + 2 ** 20, 7));
  const response = await send(user, [["purpose", "fine-tune"], ["file", packed]]);
  const file = await response.json();
  assertEquals([response.status, file.status, file.filename], [200, "uploaded", "rows.jsonl"]);
  assertEquals((await validated(file.id)).status, "processed");
});

Deno.test("a large invalid file ends in status error with the row", async () => {
  const broken = await new Blob(["no row\n", large]).bytes();
  const file = await upload(user, broken);
  assertEquals(file.status, "uploaded");
  const done = await validated(file.id);
  assertEquals(done.status, "error");
  assertStringIncludes(done.status_details ?? "", "Line 1");
});

Deno.test("identical large files share one object once validated", async () => {
  const bytes = makeFile(maxInRequestBytes + 2 ** 20, 9);
  const [one, two] = [await upload(user, bytes), await upload(user, bytes)];
  await validated(one.id);
  await validated(two.id);
  const kept = await sql`
    select distinct object from tunebase.files where project_id = ${user.projectId} and bytes = ${bytes.length}
      and sha256 = (select f.sha256 from tunebase.files f where f.project_id = ${user.projectId} order by f.id desc limit 1)`;
  assertEquals(kept.length, 1);
});

Deno.test("a large file with an invalid form is rejected and leaves no bytes behind", async () => {
  const file = new Blob([large]);
  const before = await objects();
  for (
    const [parts, status] of [
      [[["file", file], ["purpose", "assistants"]], 400],
      [[["file", file], ["purpose", "fine-tune"], ["colour", "red"]], 400],
      [[["file", file], ["purpose", "fine-tune"], ["expires_after[seconds]", "3600"]], 400],
      [[["file", file], ["file", file], ["purpose", "fine-tune"]], 400],
      [[["file", await gzip(new Uint8Array(33 * 2 ** 20).fill(32))], ["purpose", "fine-tune"]], 413],
    ] as [[string, string | Blob][], number][]
  ) {
    const response = await send(user, parts);
    assertEquals(response.status, status, await response.text());
    assertEquals(await objects(), before);
  }
});

Deno.test("a large file over the storage quota is rejected before it is stored", async () => {
  const full = await tunebase.user();
  await sql`update tunebase.projects set max_storage_bytes = 1000000 where id = ${full.projectId}`;
  const before = await objects();
  const body = await upload(full, large);
  assertEquals(body.error.code, "quota_exceeded");
  assertEquals(await objects(), before);
  const reserved = await sql`
    select from tunebase_internal.orphaned_objects where object like ${`${full.projectId}/%`}`;
  assertEquals(reserved.length, 0);
});
