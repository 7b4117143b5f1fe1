/** A short `task fuzz`: valid requests succeed, invalid ones are rejected, and every response matches the document. */
import { assert } from "#assert";
import { fuzz } from "./fuzz.ts";

Deno.test("Schemathesis finds no response that violates the OpenAPI document", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const { ok, output } = await fuzz({ examples: 1, seed });
  assert(
    ok,
    `seed ${seed}: npx -y deno@2.9.6 task fuzz --examples 1 --seed ${seed}\n${output.slice(-15_000)}`,
  );
});
