/** POST /files in a function with the platform's CPU and memory limits. */
import { assert, assertEquals } from "#assert";
import { makeFile } from "../../bench/validation.ts";
import { platformLimits } from "../../local/emulators/functions/limits.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase({}, { apiLimits: platformLimits });
Deno.test.afterAll(() => tunebase.close());
const user = await tunebase.user();

Deno.test("a 31 MiB upload stays within platform limits and is validated by ticks", async () => {
  const bytes = makeFile(31 * 2 ** 20);
  const before = tunebase.apiPids();
  const file = await user.openai.files.create({
    file: new File([bytes], "rows.jsonl"),
    purpose: "fine-tune",
  });
  assertEquals([file.status, file.bytes], ["uploaded", bytes.length]);
  assert(tunebase.apiPids().some((pid) => before.includes(pid)), "the isolate that took it lives");
  for (let ticks = 0; (await user.openai.files.retrieve(file.id)).status === "uploaded"; ticks++) {
    assert(ticks < 20, "20 ticks did not validate it");
    await tunebase.tick();
  }
  assertEquals((await user.openai.files.retrieve(file.id)).status, "processed");
});

Deno.test("concurrent small files stay within the limits and return their reports", async () => {
  const before = tunebase.apiPids();
  const files = await Promise.all(Array.from({ length: 4 }, (_, n) =>
    user.openai.files.create({
      file: new File([makeFile(3 * 2 ** 20, n + 1)], `rows${n}.jsonl`),
      purpose: "fine-tune",
    })));
  assertEquals(files.map(({ status }) => status), ["processed", "processed", "processed", "processed"]);
  assert(tunebase.apiPids().some((pid) => before.includes(pid)), "the isolate that took them lives");
});
