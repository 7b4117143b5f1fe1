/** Outputs of a finished job: result file, model, adapter and checkpoints; and the lists of jobs. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt, trainedJob } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const base = "SmolLM2-135M-Instruct";
const jobNow = (user: TestUser, job: { id: string }) => user.openai.fineTuning.jobs.retrieve(job.id);
const objects = async () =>
  (await sql`select name from storage.objects where bucket_id = 'tunebase-adapters' order by name`).map((
    { name },
  ) => String(name));

/** A job that has succeeded, and its model's name. */
async function succeeded(user: TestUser) {
  const job = await trainedJob(tunebase, user);
  return { job, name: job.fine_tuned_model ?? "" };
}

Deno.test("a succeeded job has a result file: a CSV of its steps with OpenAI's columns", async () => {
  const user = await tunebase.user();
  const { job } = await succeeded(user);
  const [id = ""] = job.result_files;
  const file = await user.openai.files.retrieve(id);
  assertEquals([file.purpose, file.status, file.filename], [
    "fine-tune-results",
    "processed",
    "step_metrics.csv",
  ]);
  const text = await (await user.openai.files.content(id)).text();
  assertEquals(text.split("\n"), [
    "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,epoch,learning_rate,gradient_norm,tokens_per_second",
    `1,2.5,,,,${1 / 6},0.0001,1,100`,
    `2,1.25,,1.5,,${2 / 6},0.0001,1,100`,
    "",
  ]);
  assertEquals(file.bytes, text.length);
  assertEquals((await user.openai.files.list({ purpose: "fine-tune-results" })).data.map(({ id }) => id), [
    id,
  ]);
  const other = await tunebase.user();
  await assertRejects(() => other.openai.files.content(id), OpenAI.NotFoundError);
  await user.openai.files.delete(id);
  await assertRejects(() => user.openai.files.content(id), OpenAI.NotFoundError);
  assertEquals((await sql`select 1 from tunebase_internal.result_contents`).length, 0);
  const failed = await createJob(user);
  assertEquals(failed.result_files, []);
});

Deno.test("a fine-tune is listed with the base models and visible only to its project", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  const { job, name } = await succeeded(user);
  assertEquals((await user.openai.models.list()).data.map(({ id }) => id), [base, name]);
  const model = await user.openai.models.retrieve(name);
  assertEquals([model.id, model.object, Reflect.get(model, "base_model"), Reflect.get(model, "job_id")], [
    name,
    "model",
    base,
    job.id,
  ]);
  assertEquals((await other.openai.models.list()).data.map(({ id }) => id), [base]);
  await assertRejects(() => other.openai.models.retrieve(name), OpenAI.NotFoundError);
  await assertRejects(() => other.openai.models.delete(name), OpenAI.NotFoundError);
});

Deno.test("continuing from a fine-tune passes its adapter to the worker and keeps its LoRA shape", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  const { job: first, name } = await succeeded(user);
  const { training_file } = first;
  const create = (who: TestUser, hyperparameters: object = {}) =>
    who.openai.fineTuning.jobs.create({ model: name, training_file, hyperparameters });
  assertEquals((await assertRejects(() => create(other), OpenAI.NotFoundError)).code, "model_not_found");
  const refused = await assertRejects(() => create(user, { lora_rank: 8 }), OpenAI.BadRequestError);
  assertEquals(refused.param, "hyperparameters.lora_rank");
  assertStringIncludes(refused.message, "must be 16");

  const job = await create(user, { n_epochs: 1 });
  assertEquals([job.model, Reflect.get(job, "base_model")], [name, base]);
  assertEquals(
    [Reflect.get(job.hyperparameters, "lora_rank"), Reflect.get(job.hyperparameters, "lora_alpha")],
    [16, 32],
  );
  const inUse = await assertRejects(() => user.openai.models.delete(name), OpenAI.ConflictError);
  assertEquals(inUse.code, "model_in_use");

  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  const { start_from } = await worker.claim();
  const [file] = (start_from as { files: { path: string; url: string; bytes: number }[] }).files;
  assertEquals((await (await fetch(file?.url ?? "")).arrayBuffer()).byteLength, file?.bytes);
  await worker.finishWithAdapter();
  const done = await jobNow(user, job);
  assert(done.fine_tuned_model !== null && done.fine_tuned_model.startsWith(`ft:${base}:`));
  assertEquals((await user.openai.models.delete(name)).deleted, true);
  await assertRejects(() => create(user), OpenAI.NotFoundError);
});

Deno.test("a model name with slashes works escaped and plain", async () => {
  await sql`insert into tunebase.base_models (id, source, owned_by, gpu_config, max_length)
    select 'Qwen/Tiny', source, owned_by, gpu_config, max_length from tunebase.base_models where id = ${base}`;
  const user = await tunebase.user();
  assertEquals((await user.openai.models.retrieve("Qwen/Tiny")).id, "Qwen/Tiny");
  assertEquals((await (await user.fetch("/models/Qwen/Tiny")).json()).id, "Qwen/Tiny");
  await sql`delete from tunebase.base_models where id = 'Qwen/Tiny'`;
});

Deno.test("deleting a fine-tune removes its files and checkpoints; a base model cannot be deleted", async () => {
  const user = await tunebase.user();
  const { job, name } = await succeeded(user);
  const kept = await succeeded(user);
  const before = await objects();
  assertEquals(await user.openai.models.delete(name), { id: name, object: "model", deleted: true });
  await tunebase.tick();
  const mine = (object: string) =>
    object.includes(job.id.slice(6).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"));
  assert(before.some((object) => mine(object) && object.includes("checkpoints/2/")));
  assertEquals(await objects(), before.filter((object) => !mine(object)));
  await assertRejects(() => user.openai.models.delete(name), OpenAI.NotFoundError);
  await assertRejects(() => user.openai.models.retrieve(name), OpenAI.NotFoundError);
  const gone = await user.fetch(`/fine_tuning/jobs/${job.id}/adapter`);
  assertEquals([gone.status, (await gone.json()).error.code], [404, "adapter_deleted"]);
  assertEquals((await user.openai.fineTuning.jobs.checkpoints.list(job.id)).data, []);
  assertEquals((await jobNow(user, job)).fine_tuned_model, name, "the job still says what it made");
  assertEquals((await user.fetch(`/fine_tuning/jobs/${kept.job.id}/adapter`)).status, 200);
  const refused = await assertRejects(() => user.openai.models.delete(base), OpenAI.PermissionDeniedError);
  assertEquals(refused.code, "model_not_own");
});

Deno.test("adapter and checkpoint files download by short-lived URLs under their own names", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  const { job } = await succeeded(user);
  const [checkpoint] = (await user.openai.fineTuning.jobs.checkpoints.list(job.id)).data;
  const path = `/fine_tuning/jobs/${job.id}`;
  for (const at of [`${path}/adapter`, `${path}/checkpoints/${checkpoint?.id}/adapter`]) {
    const answer = await (await user.fetch(at)).json();
    const [file] = answer.files;
    assert(!file.path.startsWith("checkpoints/"));
    const left = file.expires_at - Date.now() / 1000;
    assert(left > 800 && left <= 900);
    const response = await fetch(file.url);
    assertEquals((await response.arrayBuffer()).byteLength, file.bytes);
    assertStringIncludes(response.headers.get("content-disposition") ?? "", file.path);
    assertEquals((await other.fetch(at)).status, 404);
  }
  assertEquals((await user.fetch(`${path}/checkpoints/ftckpt-${"0".repeat(32)}/adapter`)).status, 404);
});

Deno.test("unsupported OpenAI features return a clear error", async () => {
  const user = await tunebase.user();
  const training_file = (await createJob(user)).training_file;
  const openai = user.openai.withOptions({ adminAPIKey: user.apiKey });
  const calls: [() => Promise<unknown>, string | null][] = [
    [() => openai.fineTuning.checkpoints.permissions.list("ft:x:ckpt-step-1"), null],
    [
      () => openai.fineTuning.checkpoints.permissions.create("ft:x:ckpt-step-1", { project_ids: ["p"] }),
      null,
    ],
    [
      () =>
        openai.fineTuning.alpha.graders.validate({
          grader: { type: "string_check", name: "g", input: "a", reference: "a", operation: "eq" },
        }),
      null,
    ],
    [() =>
      user.openai.fineTuning.jobs.create({
        model: base,
        training_file,
        method: { type: "reinforcement" },
      }), "method.type"],
    [
      () =>
        user.openai.fineTuning.jobs.create({
          model: base,
          training_file,
          integrations: [{ type: "wandb", wandb: { project: "p" } }],
        }),
      "integrations",
    ],
  ];
  for (const [ask, param] of calls) {
    const refused = await assertRejects(ask, OpenAI.BadRequestError);
    assertEquals([refused.code, refused.param ?? null], ["unsupported", param]);
    assertStringIncludes(refused.message, param === "integrations" ? "Remove it" : "not supported");
  }
});

Deno.test("jobs can be filtered by status, model, time and metadata, and pages stay stable", async () => {
  const user = await tunebase.user();
  const jobs = await Promise.all([0, 1, 2, 3].map(() => createJob(user)));
  jobs.sort((a, b) => b.id.localeCompare(a.id));
  const [newest, second, third, oldest] = jobs;
  assert(newest && second && third && oldest);
  const raw = (id: string) => id.slice(6).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  await user.openai.fineTuning.jobs.cancel(second.id);
  await sql`update tunebase.jobs set metadata = '{"team": "a b", "run": "1"}' where id = ${raw(third.id)}`;
  const list = async (query: string) => {
    const response = await user.fetch(`/fine_tuning/jobs?${query}`);
    const body = await response.json();
    assertEquals(response.status, 200, JSON.stringify(body));
    return body.data.map(({ id }: { id: string }) => id);
  };
  assertEquals(await list("status=cancelled"), [second.id]);
  assertEquals(await list(`status=queued&model=${base}`), [newest.id, third.id, oldest.id]);
  assertEquals(await list("model=other"), []);
  assertEquals(await list("metadata[team]=a+b&metadata[run]=1"), [third.id]);
  assertEquals(await list("metadata[team]=a+b&metadata[run]=2"), []);
  assertEquals(await list("metadata="), [newest.id, second.id, oldest.id]);
  const none = await user.openai.fineTuning.jobs.list({ metadata: null });
  assertEquals(none.data.map(({ id }) => id), [newest.id, second.id, oldest.id]);
  // Created an hour ago.
  const hourAgo = raw(oldest.id).replace(
    /^.{8}-.{4}/,
    (Date.now() - 3_600_000).toString(16).padStart(12, "0").replace(/(.{8})/, "$1-"),
  );
  await sql`
    insert into tunebase.jobs (id, project_id, status, base_model, training_file, hyperparameters, plan, seed, created_by,
      finished_at, created_at)
    select ${hourAgo}, project_id, 'cancelled', base_model, training_file, '{}', '{}', 1, created_by, now(),
      now() - interval '1 hour'
    from tunebase.jobs where id = ${raw(oldest.id)}`;
  const before = Math.floor(Date.now() / 1000) - 1800;
  assertEquals(await list(`created_after=${before}`), [newest.id, second.id, third.id, oldest.id]);
  assertEquals(await list(`created_before=${before}`), [`ftjob-${hourAgo.replaceAll("-", "")}`]);

  const first = await (await user.fetch("/fine_tuning/jobs?limit=2")).json();
  await createJob(user);
  assertEquals(await list(`limit=2&after=${first.last_id}`), [third.id, oldest.id]);
  for (const query of ["status=done", "created_after=yesterday", "limit=x"]) {
    assertEquals((await user.fetch(`/fine_tuning/jobs?${query}`)).status, 400);
  }
});

Deno.test("every filter uses an index in list order", async () => {
  const user = await tunebase.user();
  const job = await createJob(user);
  const id = job.id.slice(6);
  // It counts the project's jobs for each new one: 200 million rows here.
  await sql`alter table tunebase.jobs disable trigger tunebase_enforce_job_quota`;
  await sql`insert into tunebase.jobs (id, project_id, status, base_model, training_file, hyperparameters, plan, seed, metadata,
      created_by, due_at, finished_at, created_at)
    select tunebase_internal.uuid7(), project_id, 'cancelled', base_model, training_file, '{}', '{}', 1,
      case when n % 1000 = 0 then '{"team": "rare"}'::jsonb when n % 2 = 0 then '{"team": "all"}' else '{}' end,
      created_by, null, now(), now()
    from tunebase.jobs, generate_series(1, 20000) n where replace(id::text, '-', '') = ${id}`;
  await sql`alter table tunebase.jobs enable trigger tunebase_enforce_job_quota`;
  await sql`analyze tunebase.jobs`;
  const caller = sql.json({ user_id: user.id, project_id: user.projectId });
  const now = Date.now() / 1000;
  const filters = [
    {},
    { status: "queued" },
    { status: "cancelled" },
    { model: base },
    { metadata: { team: "rare" } },
    { metadata: { team: "all" } },
    { without_metadata: true },
    { created_after: now - 3600, created_before: now + 3600 },
  ];
  for (const filter of filters) {
    const read = await sql.begin(async (t) => {
      const [found] = await t`select tunebase_internal.list_jobs(${caller}, null, 20, ${
        t.json(filter)
      }) as page`;
      assert(found?.page.data.length > 0, JSON.stringify(filter));
      const [counted] = await t`
        select seq_scan, idx_tup_fetch from pg_stat_xact_user_tables where relname = 'jobs'`;
      return { scans: Number(counted?.seq_scan), rows: Number(counted?.idx_tup_fetch) };
    });
    assertEquals(read.scans, 0, JSON.stringify(filter));
    assert(read.rows < 200, `${JSON.stringify(filter)}: ${read.rows} rows were read`);
  }
});
