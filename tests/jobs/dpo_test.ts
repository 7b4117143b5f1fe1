/** Direct preference optimization, from the API to the trainer. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { buildJobRequest, readForm } from "../../dashboard/src/features/new_job/form.ts";
import { RunInput } from "../../supabase/functions/_shared/protocol.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { FakeWorker, latestAttempt, rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const model = "SmolLM2-135M-Instruct";
/** The example of OpenAI's guide. */
const preference = JSON.stringify({
  input: { messages: [{ role: "user", content: "How cold is it?" }], tools: [], parallel_tool_calls: true },
  preferred_output: [{ role: "assistant", content: "Between 14 and 20 °C." }],
  non_preferred_output: [{ role: "assistant", content: "It is not particularly cold." }],
});
const preferences = `${preference}\n${preference}\n`;
const upload = async (user: TestUser, text: string, name = "rows.jsonl") =>
  (await user.openai.files.create({ file: new File([text], name), purpose: "fine-tune" })).id;
const post = async (user: TestUser, body: object, headers: Record<string, string> = {}) => {
  const response = await user.fetch("/fine_tuning/jobs", {
    method: "POST",
    body: JSON.stringify({ model, ...body }),
    headers,
  });
  return { status: response.status, body: await response.json() };
};

Deno.test('a DPO job returns its method with "auto" resolved, and its worker receives it', async () => {
  const user = await tunebase.user();
  const training_file = await upload(user, preferences);
  const job = await user.openai.fineTuning.jobs.create({
    model,
    training_file,
    method: { type: "dpo", dpo: { hyperparameters: { beta: "auto", n_epochs: 2, batch_size: "auto" } } },
  });
  assertEquals([job.status, job.method?.type, job.method?.supervised], ["queued", "dpo", undefined]);
  const shown = job.method?.dpo?.hyperparameters;
  assertEquals([shown?.beta, shown?.n_epochs, shown?.batch_size], [0.1, 2, 8]);
  assertEquals(shown, job.hyperparameters);
  const read = await user.openai.fineTuning.jobs.retrieve(job.id);
  const [listed] = (await user.openai.fineTuning.jobs.list()).data;
  assertEquals([read.method, listed?.method], [job.method, job.method]);

  await tunebase.tick();
  const sent = tunebase.runpod.runs.at(-1)?.body as { input: unknown };
  const { hyperparameters } = RunInput.parse(sent.input);
  assertEquals([hyperparameters.method, hyperparameters.beta], ["dpo", 0.1]);
  assertEquals(hyperparameters.learning_rate, 5e-5, "a tenth of the model's own for supervised training");
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  await worker.finishWithAdapter();
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job.id)).status, "succeeded");
});

Deno.test("beta and the learning rate keep the requested values", async () => {
  const user = await tunebase.user();
  const training_file = await upload(user, preferences);
  const asked = { beta: 2, learning_rate_multiplier: 0.5, lora_rank: 32 };
  const { body } = await post(user, {
    training_file,
    method: { type: "dpo", dpo: { hyperparameters: asked } },
  });
  const { beta, learning_rate, learning_rate_multiplier, lora_rank } = body.hyperparameters;
  assertEquals([beta, learning_rate, learning_rate_multiplier, lora_rank], [2, 2.5e-5, 0.5, 32]);
  const plain = await post(user, { training_file, method: { type: "dpo" }, hyperparameters: { beta: 0.5 } });
  assertEquals([plain.status, plain.body.hyperparameters.beta], [200, 0.5], "OpenAI's older place");
  const supervised = await post(user, { training_file: await upload(user, rows) });
  assertEquals(supervised.body.method.type, "supervised");
  assertEquals("beta" in supervised.body.hyperparameters, false);
});

const dpo = (values: object) => ({ method: { type: "dpo", dpo: { hyperparameters: values } } });
for (
  const [what, body, param, expected] of [
    ["a beta of 0", dpo({ beta: 0 }), "method.dpo.hyperparameters.beta", "0"],
    ["a beta above 2", dpo({ beta: 2.5 }), "method.dpo.hyperparameters.beta", "2"],
    [
      "an unknown hyperparameter",
      dpo({ gamma: 1 }),
      "method.dpo.hyperparameters.gamma",
      "Allowed fields: n_epochs",
    ],
    [
      "the other method's field",
      { method: { type: "dpo", supervised: {} } },
      "method.supervised",
      "Allowed fields: type, dpo",
    ],
    [
      "an unknown method",
      { method: { type: "ppo" } },
      "method.type",
      'must be "supervised" or "dpo"',
    ],
    [
      "hyperparameters in both places",
      { ...dpo({ n_epochs: 1 }), hyperparameters: { n_epochs: 1 } },
      "hyperparameters",
      "at the top level or in method.dpo, not both",
    ],
  ] as const
) {
  Deno.test(`rejects a DPO job with ${what}`, async () => {
    const user = await tunebase.user();
    const refused = await post(user, { training_file: await upload(user, preferences), ...body });
    assertEquals(refused.status, 400, JSON.stringify(refused.body));
    assertEquals(refused.body.error.param, param);
    assertStringIncludes(refused.body.detail, expected);
  });
}

Deno.test("a supervised job rejects beta", async () => {
  const user = await tunebase.user();
  const { status, body } = await post(user, {
    training_file: await upload(user, rows),
    hyperparameters: { beta: 0.1 },
  });
  assertEquals([status, body.error.param], [400, "hyperparameters.beta"]);
  assertStringIncludes(body.detail, 'is only available for method "dpo"');
});

Deno.test("rejects a file with rows for the other method, naming the file, its format and the fix", async () => {
  const user = await tunebase.user();
  const chat = await upload(user, rows, "chat.jsonl");
  const pairs = await upload(user, preferences, "pairs.jsonl");
  const create = (body: object) => () =>
    user.openai.fineTuning.jobs.create({ model, training_file: pairs, ...body });
  for (
    const [ask, param, expected] of [
      [create({}), "training_file", `pairs.jsonl has preference rows, but method "supervised"`],
      [create({}), "training_file", 'Set method to {"type": "dpo"}'],
      [
        create({ training_file: chat, method: { type: "dpo" } }),
        "training_file",
        'chat.jsonl has chat rows, but method "dpo" requires preference rows, such as {"input"',
      ],
      [
        create({ validation_file: chat, method: { type: "dpo" } }),
        "validation_file",
        "chat.jsonl has chat rows",
      ],
      [
        create({ training_file: chat, validation_file: pairs }),
        "validation_file",
        "pairs.jsonl has preference rows",
      ],
    ] as const
  ) {
    const refused = await assertRejects(ask, OpenAI.BadRequestError);
    assertEquals([refused.code, refused.param], ["invalid_request", param]);
    assertStringIncludes(refused.message, expected);
  }
  const [count] =
    await sql`select count(*)::int as n from tunebase.jobs where project_id = ${user.projectId}`;
  assertEquals(count?.n, 0);
});

Deno.test("an SDK retry finds its job; a different beta creates another", async () => {
  const user = await tunebase.user();
  const training_file = await upload(user, preferences);
  const again = { "x-stainless-retry-count": "1" };
  const first = await post(user, { training_file, ...dpo({ beta: 0.1 }) });
  assertEquals((await post(user, { training_file, ...dpo({ beta: 0.1 }) }, again)).body.id, first.body.id);
  assert((await post(user, { training_file, ...dpo({ beta: 0.2 }) }, again)).body.id !== first.body.id);
});

Deno.test("continuing from a fine-tune can change the method", async () => {
  const user = await tunebase.user();
  const supervised = await user.openai.fineTuning.jobs.create({
    model,
    training_file: await upload(user, rows),
  });
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, supervised)).id);
  await worker.claim();
  await worker.finishWithAdapter();
  const { fine_tuned_model } = await user.openai.fineTuning.jobs.retrieve(supervised.id);
  const { status, body } = await post(user, {
    model: fine_tuned_model,
    training_file: await upload(user, preferences),
    method: { type: "dpo" },
  });
  assertEquals([status, body.method.type, body.hyperparameters.lora_rank], [200, "dpo", 16]);
});

Deno.test("the dashboard's form creates a DPO job from a preference file and sends beta only then", () => {
  const form = {
    ...readForm(new URLSearchParams({ training_file: "file-1", model, beta: "0.2", n_epochs: "2" })),
    seed: "7",
  };
  assertEquals(buildJobRequest(form, "preference")?.method, {
    type: "dpo",
    dpo: { hyperparameters: { beta: 0.2, n_epochs: 2 } },
  });
  assertEquals(buildJobRequest(form, "chat")?.method, {
    type: "supervised",
    supervised: { hyperparameters: { n_epochs: 2 } },
  });
});
