/** `tunebase files convert`, without a server: as users run it, the bundle under Node, and its variants in this process. */
import { assertEquals, assertStringIncludes } from "#assert";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { join } from "../../local/paths.ts";
import { bundledCli } from "../support/cli_runner.ts";

const program = await bundledCli({});
Deno.test.afterAll(() => program.close());
const path = (name: string) => join(program.home, name);
const write = async (name: string, content: string | Uint8Array) => {
  await Deno.writeFile(path(name), typeof content === "string" ? new TextEncoder().encode(content) : content);
  return path(name);
};
const read = (name: string) => Deno.readTextFile(path(name));
const exists = (name: string) => Deno.stat(path(name)).then(() => true, () => false);

const csv = 'id,prompt,completion\n1,"a, b",c\n2,d,e\n3,f,g\n4,h,i\n';
const converted = [["a, b", "c"], ["d", "e"], ["f", "g"], ["h", "i"]].map(([question, answer]) =>
  `${
    JSON.stringify({
      messages: [{ role: "user", content: question }, { role: "assistant", content: answer }],
    })
  }\n`
).join("");

Deno.test("a preview shows the format, the row count and three rows before and after, and writes nothing", async () => {
  const file = await write("rows.csv", csv);
  for (const args of [[], ["--preview"], ["--preview", "--to", path("out.jsonl")]]) {
    const { code, out } = await program.runHere(["files", "convert", file, ...args]);
    assertEquals(code, 0);
    for (
      const part of ["Prompt and completion (CSV)", "ignored   the fields id", "line 2", "line 4", '"c"}']
    ) {
      assertStringIncludes(out, part);
    }
    assertEquals(out.includes("line 5"), false);
  }
  assertEquals(await exists("out.jsonl"), false);
});

Deno.test("--to writes every row in order, from gzip too, and to stdout", async () => {
  for (const file of [await write("rows.csv", csv), await write("packed.csv.gz", gzipSync(csv))]) {
    assertEquals((await program.run(["files", "convert", file, "--to", path("out.jsonl")])).code, 0);
    assertEquals(await read("out.jsonl"), converted);
    assertEquals((await program.runHere(["files", "convert", file, "--to", "-"])).out, converted);
  }
  // What is canonical stays as it is, to the byte.
  assertEquals(
    (await program.runHere(["files", "convert", path("out.jsonl"), "--to", path("same.jsonl")])).code,
    0,
  );
  assertEquals(await read("same.jsonl"), converted);
});

Deno.test("a file with an error writes nothing and names the row, field and value", async () => {
  const file = await write(
    "bad.json",
    JSON.stringify([{ instruction: "a", output: "b" }, { instruction: "a", output: 3 }]),
  );
  const { code, out, err } = await program.runHere(["files", "convert", file, "--to", path("bad.jsonl")]);
  assertEquals(code, 1);
  assertStringIncludes(out, "line 2: output is 3, but must be a string");
  assertStringIncludes(err, "Nothing was written.");
  assertEquals([await exists("bad.jsonl"), await exists("bad.jsonl.partial")], [false, false]);
});

Deno.test("the source is never overwritten", async () => {
  const file = await write("rows.csv", csv);
  const { code, err } = await program.runHere(["files", "convert", file, "--to", file]);
  assertEquals(code, 1);
  assertStringIncludes(err, "would overwrite the input");
  assertEquals(await read("rows.csv"), csv);
});

Deno.test("a Parquet file is converted, group by group", async () => {
  const file = fileURLToPath(new URL("../fixtures/chat.parquet", import.meta.url));
  const { code, out } = await program.run(["files", "convert", file, "--to", path("parquet.jsonl")]);
  assertEquals(code, 0);
  for (const part of ["Chat (Parquet)", "rows      5", "ignored   the fields id"]) {
    assertStringIncludes(out, part);
  }
  assertEquals(
    await read("parquet.jsonl"),
    [0, 1, 2, 3, 4].map((i) =>
      `${
        JSON.stringify({
          messages: [{ role: "user", content: `question ${i}` }, {
            role: "assistant",
            content: `answer ${i}`,
          }],
        })
      }\n`
    ).join(""),
  );
  const cut = await write("cut.parquet", (await Deno.readFile(file)).subarray(0, 900));
  const broken = await program.runHere(["files", "convert", cut]);
  assertEquals(broken.code, 1);
  assertStringIncludes(broken.err, "cannot be read as Parquet");
});
