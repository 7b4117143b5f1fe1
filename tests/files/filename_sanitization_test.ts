/** File names are for display only: they never determine storage paths or appear unescaped in headers. */
import { assert, assertEquals } from "#assert";
import { startTunebase } from "../support/test_server.ts";
import { rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const ada = await tunebase.user();

/** The name as sent and as displayed; null if a form can encode it in several ways. */
const names: [string, string | null][] = [
  ["../../../etc/passwd", "passwd"],
  ["..\\..\\windows\\system.ini", "system.ini"],
  ["/absolute/rows.jsonl", "rows.jsonl"],
  ["..", ".."],
  ["a%2F..%2Fb.jsonl", "a%2F..%2Fb.jsonl"],
  ["x\r\nset-cookie: a=b.jsonl", null],
  ['"; filename="y.exe', null],
  ["<script>alert(1)</script>.jsonl", "script>.jsonl"],
  ["Grüße 🦜.jsonl", "Grüße 🦜.jsonl"],
];
for (const [name, shown] of names) {
  Deno.test(`a file named ${JSON.stringify(name)} is stored by id and downloads under a safe name`, async () => {
    const form = new FormData();
    form.append("purpose", "fine-tune");
    form.append("file", new File([rows], name));
    const file = await (await ada.fetch("/files", { method: "POST", body: form })).json();
    if (shown !== null) assertEquals(file.filename, shown);
    const [row] = await sql`select object from tunebase.files where id = ${file.id.replace("file-", "")}`;
    assert(new RegExp(`^${ada.projectId}/[0-9a-f-]{36}\\.jsonl$`).test(row?.object), row?.object);
    const content = await ada.fetch(`/files/${file.id}/content`);
    assertEquals(await content.text(), rows);
    const header = content.headers.get("content-disposition") ?? "";
    assert(/^attachment; filename\*=UTF-8''[A-Za-z0-9!'()*._~%-]*$/.test(header), header);
    assertEquals([content.headers.get("set-cookie"), content.headers.get("content-type")], [
      null,
      "application/octet-stream",
    ]);
  });
}

Deno.test("storage object names never contain user input", async () => {
  for (const { name } of await sql`select name from storage.objects`) {
    assert(/^[0-9a-f-]{36}\/[0-9a-f-]{36}\.jsonl$/.test(name), name);
  }
});
