/** Job requests that are rejected, each with the field and the reason. */
import { assertEquals, assertStringIncludes } from "#assert";
import { create, fileId, model, problem } from "../support/api_requests.ts";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const ada = await tunebase.user();
const file = await fileId(ada);
const count = async (table: string) => Number((await sql.unsafe(`select count(*) from ${table}`))[0]?.count);

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

Deno.test("reports all invalid fields at once", async () => {
  const body = await problem(await create(ada, hyper({ n_epochs: 0, lora_rank: 1, nope: 1 })), 400);
  assertEquals(body.errors.length, 3);
  assertStringIncludes(body.detail, "(and 2 more)");
});
