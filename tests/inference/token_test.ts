import { assertEquals } from "#assert";
import * as z from "zod";
import { InferenceToken } from "../../supabase/functions/_shared/contracts/inference_token.ts";

const examples = z.array(z.object({ valid: z.boolean(), why: z.string(), value: z.unknown() }))
  .parse(JSON.parse(await Deno.readTextFile(new URL("../fixtures/inference_tokens.json", import.meta.url))));

for (const { valid, why, value } of examples) {
  Deno.test(`a token is ${valid ? "accepted" : "rejected"}: ${why}`, () => {
    assertEquals(InferenceToken.safeParse(value).success, valid);
  });
}
