/** OpenAI's unmodified SDKs, npm's and PyPI's: every supported call, and each error with its class. */
import { assert, assertEquals, assertRejects } from "#assert";
import OpenAI from "openai";
import { fromFileUrl } from "../../local/paths.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, rows, trainedJob } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const model = "SmolLM2-135M-Instruct";

Deno.test("npm's SDK: files", async () => {
  const { openai } = await tunebase.user();
  const file = await openai.files.create({ file: new File([rows], "rows.jsonl"), purpose: "fine-tune" });
  assertEquals((await openai.files.waitForProcessing(file.id)).status, "processed");
  assertEquals(await openai.files.retrieve(file.id), file);
  assertEquals(await (await openai.files.content(file.id)).text(), rows);
  for (let i = 0; i < 3; i++) {
    await openai.files.create({ file: new File([rows], `${i}.jsonl`), purpose: "fine-tune" });
  }
  const names: string[] = [];
  for await (const { filename } of openai.files.list({ limit: 2, order: "asc" })) names.push(filename);
  assertEquals(names, ["rows.jsonl", "0.jsonl", "1.jsonl", "2.jsonl"]);
  assertEquals(await openai.files.delete(file.id), { id: file.id, object: "file", deleted: true });
});

Deno.test("npm's SDK: job lifecycle, lists, events and checkpoints", async () => {
  const user = await tunebase.user();
  const { jobs } = user.openai.fineTuning;
  const done = await trainedJob(tunebase, user);
  const job = await jobs.create({
    model,
    training_file: done.training_file,
    validation_file: done.training_file,
    suffix: "demo",
    seed: 7,
    metadata: { team: "a b" },
    hyperparameters: { n_epochs: 3, batch_size: "auto", learning_rate_multiplier: 0.5 },
  });
  assertEquals([job.status, job.hyperparameters.n_epochs, job.hyperparameters.batch_size, job.seed], [
    "queued",
    3,
    8,
    7,
  ]);
  assertEquals((await jobs.retrieve(job.id)).id, job.id);
  // The SDK's type has no `paused`.
  assertEquals((await jobs.pause(job.id)).status as string, "paused");
  assertEquals((await jobs.resume(job.id)).status, "queued");
  assertEquals((await jobs.cancel(job.id)).status, "cancelled");
  const more = await Promise.all([1, 2, 3].map(() => createJob(user)));
  const listed: string[] = [];
  for await (const { id } of jobs.list({ limit: 2 })) listed.push(id);
  assertEquals(listed.sort(), [done.id, job.id, ...more.map(({ id }) => id)].sort());
  assertEquals((await jobs.list({ metadata: { team: "a b" } })).data.map(({ id }) => id), [job.id]);
  assertEquals((await jobs.list({ metadata: null })).data.length, 4);

  const messages: string[] = [];
  for await (const { message } of jobs.listEvents(done.id, { limit: 3 })) messages.push(message);
  assertEquals(messages.at(-1), "Created fine-tuning job.");
  assert(messages.length > 6);
  const [checkpoint] = (await jobs.checkpoints.list(done.id)).data;
  assertEquals([checkpoint?.step_number, checkpoint?.fine_tuning_job_id], [2, done.id]);
  assertEquals(done.trained_tokens, 1000);
  const csv = await (await user.openai.files.content(done.result_files[0] ?? "")).text();
  assert(csv.startsWith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"));
});

Deno.test("npm's SDK: models", async () => {
  const user = await tunebase.user();
  const name = (await trainedJob(tunebase, user)).fine_tuned_model ?? "";
  const ids: string[] = [];
  for await (const { id } of user.openai.models.list()) ids.push(id);
  assertEquals(ids, [model, name]);
  assertEquals((await user.openai.models.retrieve(name)).object, "model");
  assertEquals((await user.openai.models.delete(name)).deleted, true);
});

Deno.test("npm's SDK: each error has its class, code, message, param and request id", async () => {
  const user = await tunebase.user();
  const { openai } = user;
  const job = await createJob(user);
  await openai.fineTuning.jobs.cancel(job.id);
  const wrong = new OpenAI({ baseURL: openai.baseURL, apiKey: "tb_wrong", maxRetries: 0 });
  const cases: [() => Promise<unknown>, abstract new (...args: never[]) => Error, string, string | null][] = [
    [
      () => openai.fineTuning.jobs.create({ model, training_file: "x" }),
      OpenAI.BadRequestError,
      "invalid_request",
      "training_file",
    ],
    [() => wrong.files.list(), OpenAI.AuthenticationError, "invalid_api_key", null],
    [() => openai.models.delete(model), OpenAI.PermissionDeniedError, "model_not_own", null],
    [
      () => openai.fineTuning.jobs.create({ model: "gpt-4o", training_file: job.training_file }),
      OpenAI.NotFoundError,
      "model_not_found",
      "model",
    ],
    [() => openai.fineTuning.jobs.retrieve("ftjob-x"), OpenAI.NotFoundError, "job_not_found", null],
    [() => openai.fineTuning.jobs.cancel(job.id), OpenAI.ConflictError, "job_already_finished", null],
  ];
  for (const [ask, Class, code, param] of cases) {
    const error = await assertRejects(ask, Class);
    assert(error instanceof OpenAI.APIError);
    assertEquals([error.code, error.param ?? null], [code, param]);
    assert(error.message.length > 20 && error.type);
    assert(error.requestID?.startsWith("req_"));
  }
});

Deno.test("PyPI's SDK: files, jobs, events, checkpoints, models and errors", async () => {
  const user = await tunebase.user();
  const job = await trainedJob(tunebase, user);
  const { success, stdout, stderr } = await new Deno.Command("trainer/.venv/bin/python", {
    args: ["tests/api/openai_sdk.py"],
    cwd: fromFileUrl(new URL("../..", import.meta.url)),
    env: {
      OPENAI_BASE_URL: user.openai.baseURL,
      OPENAI_API_KEY: user.apiKey,
      TRAINED_JOB: job.id,
    },
  }).output();
  const text = new TextDecoder();
  assert(success, text.decode(stdout) + text.decode(stderr));
  assertEquals(text.decode(stdout).trim().split("\n").at(-1), "all of it works");
});
