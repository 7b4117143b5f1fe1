import { assert, assertEquals } from "#assert";
import * as z from "zod";
import { messages } from "../../supabase/functions/_shared/protocol.ts";

const examples = z.array(
  z.object({ message: z.string(), valid: z.boolean(), why: z.string().optional(), value: z.unknown() }),
)
  .parse(JSON.parse(await Deno.readTextFile(new URL("../fixtures/protocol_messages.json", import.meta.url))));
const schemas: Record<string, z.ZodType> = messages;

for (const [name, schema] of Object.entries(schemas)) {
  Deno.test(`the example messages of ${name} are accepted or rejected as declared`, () => {
    const mine = examples.filter(({ message }) => message === name);
    assert(mine.some(({ valid }) => valid) && mine.some(({ valid }) => !valid), "one of each");
    for (const { valid, why, value } of mine) assertEquals(schema.safeParse(value).success, valid, why);
  });
}
