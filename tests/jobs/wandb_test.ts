/** Jobs with a Weights & Biases run, on a server whose workers have a key. */
import { assertEquals } from "#assert";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase({ TUNEBASE_WANDB: "1" });
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const model = "SmolLM2-135M-Instruct";
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
    ["two", Array(2).fill({ type: "wandb", wandb: { project: "p" } }), "integrations"],
  ] as const
) {
  Deno.test(`rejects integrations with ${what}, naming the field`, async () => {
    const user = await tunebase.user();
    const training_file = await upload(user);
    const refused = await user.fetch("/fine_tuning/jobs", {
      method: "POST",
      body: JSON.stringify({ model, training_file, integrations }),
    });
    assertEquals(refused.status, 400);
    const { error } = await refused.json();
    assertEquals([error.code, error.param], ["invalid_request", param], JSON.stringify(error));
    const [row] =
      await sql`select count(*)::integer as jobs from tunebase.jobs where project_id = ${user.projectId}`;
    assertEquals(row?.jobs, 0);
  });
}
