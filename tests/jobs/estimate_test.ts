/** Estimates of jobs, before and after training. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { fromFileUrl } from "../../local/paths.ts";
import type { Estimate } from "../../supabase/functions/tunebase/jobs/estimate/mod.ts";
import { TrainerCounts } from "../support/trainer_counts.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { FakeWorker, latestAttempt, rows as twoRows } from "../support/fake_worker.ts";

// A busy machine must not exhaust the counting budget.
const tunebase = await startTunebase({ TUNEBASE_TOKEN_COUNT_BUDGET_MS: "60000" });
const trainer = new TrainerCounts();
Deno.test.afterAll(async () => {
  await trainer.close();
  await tunebase.close();
});
const { sql } = tunebase;
const user = await tunebase.user();
const model = "SmolLM2-135M-Instruct";
const here = (path: string) => fromFileUrl(new URL(path, import.meta.url));
const support = await Deno.readFile(here("../../examples/support-train.jsonl"));

async function upload(of: TestUser, data: Uint8Array<ArrayBuffer> | string): Promise<string> {
  const file = await of.openai.files.create({ file: new File([data], "rows.jsonl"), purpose: "fine-tune" });
  return file.id;
}
async function estimate(
  of: TestUser,
  body: Record<string, unknown>,
): Promise<Estimate & { hyperparameters: Record<string, unknown> }> {
  const response = await of.fetch("/fine_tuning/estimates", {
    method: "POST",
    body: JSON.stringify({ model, ...body }),
    headers: { "content-type": "application/json" },
  });
  const answer = await response.json();
  assertEquals(response.status, 200, JSON.stringify(answer));
  return answer;
}
/** Sets columns of the one base model while `run` runs. */
async function withModel<T>(columns: Record<string, unknown>, run: () => Promise<T>): Promise<T> {
  const [before] = await sql`select * from tunebase.base_models where id = ${model}`;
  const old = Object.fromEntries(Object.keys(columns).map((name) => [name, before?.[name]]));
  await sql`update tunebase.base_models set ${sql(columns)} where id = ${model}`;
  try {
    return await run();
  } finally {
    await sql`update tunebase.base_models set ${sql(old)} where id = ${model}`;
  }
}

for (const name of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
  const { error } = await tunebase.platform.supabase.storage.from("tunebase-tokenizers").upload(
    `small/1/${name}`,
    await Deno.readFile(here(`../fixtures/tokenizer/${name}`)),
  );
  if (error !== null) throw error;
}
const withTokenizer = <T>(run: () => Promise<T>) => withModel({ tokenizer: "small/1" }, run);

Deno.test("with the model's tokenizer, an estimate matches the trainer's counts, including truncated rows", async () => {
  const training_file = await upload(user, support);
  await withTokenizer(async () => {
    const path = here("../../examples/support-train.jsonl");
    const hyperparameters = { max_length: 2048, n_epochs: 3, validation_split: 0 };
    const whole = await estimate(user, { training_file, hyperparameters });
    const counted = await trainer.counts(path, 2048);
    assertEquals(whole.tokens.method, "counted");
    assertEquals(whole.tokens.per_epoch, {
      low: counted.tokens,
      expected: counted.tokens,
      high: counted.tokens,
    });
    assertEquals(whole.tokens.trainable_tokens_per_epoch.expected, counted.trainable);
    assertEquals(whole.tokens.total.expected, 3 * counted.tokens);
    assertEquals([whole.rows.trained.expected, whole.rows.truncated.expected], [252, 0]);
    assertEquals(whole.steps, { per_epoch: 32, total: 96 });

    const cut = await estimate(user, {
      training_file,
      hyperparameters: { max_length: 95, validation_split: 0 },
    });
    const short = await trainer.counts(path, 95);
    assert(short.truncated > 0 && short.truncated < 252);
    assertEquals(cut.rows.truncated.expected, short.truncated);
    assertEquals(cut.tokens.per_epoch.expected, short.tokens);
    assertStringIncludes(cut.warnings.join(), `${short.truncated} rows longer than max_length (95 tokens)`);
  });
});

Deno.test("a preference estimate matches the trainer's counts for both answers and the reference pass", async () => {
  const path = await Deno.makeTempFile({ suffix: ".jsonl" });
  const lines = Array.from({ length: 60 }, (_, i) => ({
    input: { messages: [{ role: "user", content: `Question ${i}: ${"how very odd ".repeat(i % 9)}?` }] },
    preferred_output: [{ role: "assistant", content: `Yes, ${"indeed ".repeat(i % 5)}${i}.` }],
    non_preferred_output: [{ role: "assistant", content: `No, ${"never ".repeat(i % 7)}${i * i}.` }],
  }));
  await Deno.writeTextFile(path, lines.map((line) => JSON.stringify(line)).join("\n"));
  const training_file = await upload(user, await Deno.readTextFile(path));
  const method = { type: "dpo" };
  await withTokenizer(async () => {
    for (const max_length of [2048, 64]) {
      const counted = await trainer.counts(path, max_length, "dpo");
      const { tokens, rows, steps } = await estimate(user, {
        training_file,
        method,
        hyperparameters: { max_length, n_epochs: 2, validation_split: 0, batch_size: 8 },
      });
      assertEquals([tokens.method, tokens.per_epoch.expected], ["counted", counted.tokens]);
      assertEquals(tokens.trainable_tokens_per_epoch.expected, counted.trainable);
      assertEquals([rows.trained.expected, rows.truncated.expected], [counted.rows, counted.truncated]);
      assertEquals(counted.truncated > 0, max_length === 64);
      assertEquals(steps, { per_epoch: 8, total: 16 });
    }
    await withModel({ tokens_per_second: 10 }, async () => {
      const { tokens, time } = await estimate(user, {
        training_file,
        method,
        hyperparameters: { n_epochs: 3, validation_split: 0 },
      });
      const expected = 120 + (3 + 1 / 3) * tokens.per_epoch.expected / 10;
      assertEquals(time.seconds?.expected, Math.round(expected));
      assertStringIncludes(time.basis, "one forward pass over all answers");
    });
  });
});

Deno.test("held-out rows are excluded from steps and tokens as in the trainer", async () => {
  const training_file = await upload(user, support);
  await withTokenizer(async () => {
    for (const [asked, share, held] of [[undefined, 0.1, 25], [0.3, 0.3, 75]] as const) {
      const { rows, steps, tokens, hyperparameters } = await estimate(user, {
        training_file,
        seed: 7,
        hyperparameters: asked === undefined ? {} : { validation_split: asked },
      });
      const [trained, trainedTokens = 0, heldRows, heldTokens = 0] = await trainer.splits(
        here("../../examples/support-train.jsonl"),
        share,
        7,
      );
      assertEquals([heldRows, trained], [held, 252 - held]);
      assertEquals([rows.trained.expected, rows.validation.expected], [252 - held, held]);
      assertEquals(steps.per_epoch, Math.ceil((252 - held) / 8));
      for (
        const [range, truth] of [[tokens.per_epoch, trainedTokens], [tokens.validation, heldTokens]] as const
      ) {
        assert(range !== null && range.low <= truth && truth <= range.high, JSON.stringify([range, truth]));
        assert(Math.abs(range.expected / truth - 1) < 0.1);
      }
      assertEquals(hyperparameters.validation_split, share, "auto is written out");
    }
    const early = await estimate(user, {
      training_file,
      hyperparameters: { n_epochs: 10, validation_split: 0.1 },
    });
    assertEquals(early.tokens.total.low, 4 * early.tokens.per_epoch.low, "early stopping may end it");
    assertEquals(early.steps.total, 290);
    const often = await estimate(user, {
      training_file,
      hyperparameters: { n_epochs: 10, validation_split: 0.1, eval_steps: 5 },
    });
    const lowest = Math.round(10 * often.tokens.per_epoch.low * 4 * 5 / 290);
    assertEquals(often.tokens.total.low, lowest, "validations decide how early");
    assertStringIncludes(often.tokens.basis, "early stopping after 20 steps");
  });
});

Deno.test("brightrun rows and trailing user turns match the trainer's counts", async () => {
  const pair = (n: number) => ({
    system_prompt: "Be kind.",
    conversation_history: [
      { turn: 1, role: "user", content: `Is order ${n} there?` },
      { turn: 1, role: "assistant", content: "Not yet." },
      { turn: 2, role: "user", content: "When?" },
    ],
    current_user_input: "When?",
    target_response: n % 3 === 0 ? null : `On day ${n}.`,
  });
  const turn = (role: string, content: string) => ({ role, content });
  const chat = { messages: [turn("user", "a"), turn("assistant", "b"), turn("user", "and now?")] };
  for (
    const rows of [[
      { _meta: { version: "4.0.0", total_pairs: 20 } },
      ...Array.from({ length: 20 }, (_, n) => pair(n)),
    ], [chat]]
  ) {
    const text = rows.map((row) => JSON.stringify(row) + "\n").join("");
    const path = await Deno.makeTempFile({ suffix: ".jsonl" });
    await Deno.writeTextFile(path, text);
    const training_file = await upload(user, text);
    await withTokenizer(async () => {
      const { tokens, rows } = await estimate(user, { training_file });
      const counted = await trainer.counts(path, 2048);
      assertEquals([tokens.per_epoch.expected, tokens.trainable_tokens_per_epoch.expected], [
        counted.tokens,
        counted.trainable,
      ]);
      assertEquals(rows.trained.expected, counted.rows);
    });
    await Deno.remove(path);
  }
});

Deno.test("a large file is sampled, and the estimated range contains the true count", async () => {
  // 1 MiB, of which a sample is counted; rows in the second half are ten times as long as in the first.
  const line = (n: number) =>
    JSON.stringify({
      messages: [
        { role: "user", content: `Order ${n}: where is it?` },
        { role: "assistant", content: "It was sent on Sunday. ".repeat(n < 600 ? 8 : 80 + n % 7) },
      ],
    }) + "\n";
  const text = Array.from({ length: 1100 }, (_, n) => line(n)).join("");
  assert(text.length > 2 ** 20);
  const path = await Deno.makeTempFile({ suffix: ".jsonl" });
  await Deno.writeTextFile(path, text);
  const training_file = await upload(user, text);
  await withTokenizer(async () => {
    const { tokens, rows } = await estimate(user, {
      training_file,
      hyperparameters: { validation_split: 0 },
    });
    const truth = await trainer.counts(path, 2048);
    assertEquals([tokens.method, rows.total.expected], ["sampled", 1100]);
    const { low, expected, high } = tokens.per_epoch;
    assert(low <= truth.tokens && truth.tokens <= high, `${truth.tokens} in ${low}–${high}`);
    assert(Math.abs(expected / truth.tokens - 1) < 0.1, `${expected} for ${truth.tokens}`);
    assert(low < expected && expected < high);
    assertStringIncludes(tokens.basis, "The total is accurate to");
  });
  await Deno.remove(path);
});

Deno.test("without a tokenizer, the token estimate is marked as such and contains the true count", async () => {
  const training_file = await upload(user, support);
  const { tokens, time, cost, memory } = await withModel(
    { parameters: null },
    () => estimate(user, { training_file }),
  );
  assertEquals(tokens.method, "sampled");
  assertStringIncludes(tokens.basis, "no tokenizer is registered");
  // SmolLM2's own count.
  assert(tokens.per_epoch.low < 13_997 && 13_997 < tokens.per_epoch.high, JSON.stringify(tokens));
  assertEquals([time.seconds, cost.usd, memory.required_gb, memory.fits], [null, null, null, null]);
  assertStringIncludes(time.basis, "Unavailable");
  assertStringIncludes(memory.basis, "Unavailable");

  // Short rows, to each of which the template adds a system prompt.
  const answer = (content: string) => [{ role: "assistant", content }];
  const pairs = Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({
      input: { messages: [{ role: "user", content: `Where is parcel ${i}?` }] },
      preferred_output: answer(`Parcel ${i} is on its way.`),
      non_preferred_output: answer("As a language model I cannot know where a parcel is."),
    }));
  const short = await estimate(user, {
    training_file: await upload(user, pairs.join("\n")),
    method: { type: "dpo" },
  });
  const { low, high } = short.tokens.per_epoch;
  assert(low < 1182 && 1182 < high, `SmolLM2's count, 1182, in ${low}–${high}`);
});

Deno.test("time, cost and memory are ranges based on the model's settings", async () => {
  const training_file = await upload(user, support);
  const gpu = { gpu_type: "A100-80GB", num_gpus: 2, gpu_memory_gb: 80, cost_per_gpu_hour: 1.8 };
  // The shape of an 8 B model with a vocabulary of 128,256.
  const shape = { parameters: 8_030_261_248, hidden_size: 4096, layers: 32, vocab_size: 128_256 };
  const columns = { tokenizer: "small/1", tokens_per_second: 100, gpu_config: sql.json(gpu), ...shape };
  await withModel(columns, async () => {
    const asked = { training_file, hyperparameters: { n_epochs: 2, max_length: 2048, validation_split: 0 } };
    const { time, cost, memory, tokens } = await estimate(user, asked);
    const seconds = 120 + tokens.total.expected / 100;
    assertEquals(time.seconds?.expected, Math.round(seconds));
    assert((time.seconds?.low ?? 0) < seconds && seconds < (time.seconds?.high ?? 0));
    // Two GPUs at 1.80 USD per hour: 0.1 cents per second.
    assertEquals(cost.usd?.expected, Math.round(Math.round(seconds) * 10) / 1e4);
    assert(
      (memory.required_gb?.low ?? 0) > 6 && (memory.required_gb?.expected ?? 0) < 40,
      JSON.stringify(memory),
    );
    assertEquals([memory.available_gb, memory.fits], [80, true]);
    await withModel({ gpu_config: sql.json({ ...gpu, gpu_memory_gb: 6 }) }, async () => {
      const tight = await estimate(user, asked);
      assertEquals(tight.memory.fits, false);
      assertStringIncludes(tight.warnings.join(), "may not fit in GPU memory");
    });
    // About 8 GB in total, of which 3.3 are the quantized base.
    await withModel({ gpu_config: sql.json({ ...gpu, gpu_memory_gb: 7.5 }) }, async () => {
      const { memory } = await estimate(user, asked);
      assertEquals(memory.fits, true, JSON.stringify(memory));
      assertStringIncludes(memory.basis, "is sharded across");
    });
    // Validation passes through the model too: once per epoch, because the validation file is large.
    const more = await estimate(user, { ...asked, validation_file: training_file });
    assertEquals(
      more.time.seconds?.expected,
      Math.round(120 + (tokens.total.expected + 2 * tokens.per_epoch.expected / 3) / 100),
    );
  });
});

Deno.test("quantization auto is bf16 if the whole base fits, and none is rejected if it cannot fit", async () => {
  const training_file = await upload(user, twoRows);
  const shape = { parameters: 8_030_261_248, hidden_size: 4096, layers: 32, vocab_size: 128_256 };
  const on = <T>(gpu_memory_gb: number, num_gpus: number, run: () => Promise<T>, more: object = {}) => {
    const gpu = { gpu_type: "GPU", num_gpus, gpu_memory_gb, cost_per_gpu_hour: 1 };
    return withModel({ gpu_config: sql.json(gpu), ...shape, ...more }, run);
  };
  const resolved = async (quantization?: string) => {
    const { hyperparameters, memory } = await estimate(user, {
      training_file,
      hyperparameters: { quantization },
    });
    return [hyperparameters.quantization, memory.basis.match(/in (NF4|bf16)/)?.[1], memory.fits];
  };
  assertEquals(await on(80, 1, () => resolved()), ["none", "bf16", true]);
  assertEquals(await on(80, 1, () => resolved("auto")), ["none", "bf16", true]);
  assertEquals(await on(80, 1, () => resolved("nf4")), ["nf4", "NF4", true]);
  // It fits with smaller micro-batches only.
  assertEquals(await on(24, 1, () => resolved()), ["nf4", "NF4", true]);
  assertEquals(await on(24, 1, () => resolved("none")), ["none", "bf16", true]);
  assertEquals((await on(80, 1, () => resolved(), { layers: null }))[0], "nf4");
  const own = { defaults: sql.json({ quantization: "nf4" }) };
  assertEquals((await on(80, 1, () => resolved("auto"), own))[0], "nf4");
  // Sharded over two GPUs.
  assertEquals(await on(15, 2, () => resolved("none")), ["none", "bf16", true]);
  // On two GPUs, auto shards the base where half of it leaves room for full micro-batches. The estimate says what that costs.
  const pairs = { training_file, hyperparameters: { batch_size: 2 } };
  const sharded = await on(16, 2, () => estimate(user, pairs));
  assertEquals(sharded.hyperparameters.quantization, "none");
  assert(sharded.memory.basis.includes("in bf16") && sharded.memory.basis.includes("sharded across 2"));
  assert(sharded.warnings.some((warning: string) => warning.includes("sharded across 2 GPUs")));
  const whole = await on(80, 2, () => estimate(user, { training_file }));
  assert(!whole.warnings.some((warning: string) => warning.includes("sharded")));
  const dora = { training_file, hyperparameters: { batch_size: 2, lora_variant: "dora" } };
  assertEquals((await on(16, 2, () => estimate(user, dora))).hyperparameters.quantization, "nf4");
  await on(12, 1, async () => {
    const response = await user.fetch("/fine_tuning/estimates", {
      method: "POST",
      body: JSON.stringify({ model, training_file, hyperparameters: { quantization: "none" } }),
    });
    assertEquals(response.status, 400);
    const { error } = await response.json();
    assertEquals(error.param, "hyperparameters.quantization");
    assertEquals(
      error.message,
      "hyperparameters.quantization = none: in bf16, the base model and its adapter need at least about 16.3 GB on each " +
        'GPU, but 1 × 12 GB are configured for this model. Use "nf4" or "auto".',
    );
  });
});

Deno.test("a file is counted once, and an unreadable Storage does not block a job", async () => {
  const training_file = await upload(user, support);
  await withTokenizer(async () => {
    await estimate(user, { training_file });
    const object = await sql`select object from tunebase.files order by id desc limit 1`;
    await tunebase.platform.supabase.storage.from("tunebase-datasets").remove([object[0]?.object]);
    assertEquals((await estimate(user, { training_file })).tokens.method, "counted");
  });
  const lost = await estimate(user, { training_file });
  assertEquals(lost.tokens.method, "by_size");
  assert(lost.tokens.per_epoch.low < 13_997 && 13_997 < lost.tokens.per_epoch.high);
});

Deno.test("an estimate is rejected like its job would be and creates nothing", async () => {
  const count = async () => Number((await sql`select count(*) from tunebase.jobs`)[0]?.count);
  const before = await count();
  const training_file = await upload(user, twoRows);
  await estimate(user, { training_file });
  const other = await tunebase.user();
  for (
    const [who, body, status] of [
      [user, { training_file, hyperparameters: { n_epochs: 99 } }, 400],
      [user, { training_file, model: "gpt-4" }, 404],
      [other, { training_file }, 404],
    ] as const
  ) {
    const response = await who.fetch("/fine_tuning/estimates", {
      method: "POST",
      body: JSON.stringify({ model, ...body }),
    });
    await response.body?.cancel();
    assertEquals(response.status, status);
  }
  assertEquals(await count(), before);
});

// @proves others-price
Deno.test("a job stores its estimate, reserves the highest cost, and scores the estimate on success", async () => {
  const gpu = { gpu_type: "A100-80GB", num_gpus: 1, gpu_memory_gb: 80, cost_per_gpu_hour: 36 };
  await withModel({ tokenizer: "small/1", tokens_per_second: 10, gpu_config: sql.json(gpu) }, async () => {
    const training_file = await upload(user, twoRows);
    const job = await user.openai.fineTuning.jobs.create({ model, training_file });
    const kept = Reflect.get(job, "estimate") as Estimate & { score?: Record<string, unknown> };
    const asked = await estimate(user, { training_file });
    assertEquals(kept, Object.fromEntries(Object.keys(kept).map((name) => [name, Reflect.get(asked, name)])));
    assertEquals(Reflect.get(job, "reserved_usd"), kept.cost.usd?.high);
    assertEquals(kept.score, undefined);
    await tunebase.tick();
    const attempt = await latestAttempt(tunebase, job);
    const worker = new FakeWorker(tunebase, attempt.id);
    await worker.claim();
    await sql`update tunebase.attempts set started_at = started_at - interval '100 seconds' where id = ${attempt.id}`;
    await worker.finishWithAdapter();
    const done = await user.openai.fineTuning.jobs.retrieve(job.id);
    const score = (Reflect.get(done, "estimate") as typeof kept).score as Record<
      string,
      { expected: number; actual: number; ratio: number; within_range: boolean }
    >;
    assertEquals(score.tokens?.actual, 1000);
    assertEquals(score.tokens?.within_range, false);
    assertEquals(score.tokens?.ratio, Math.round(1000 / kept.tokens.total.expected * 1e4) / 1e4);
    const actual = score.seconds?.actual ?? 0;
    assert(actual >= 100 && actual < 110, String(actual));
    assertEquals(score.seconds?.within_range, true);
    assert(Math.abs((score.cost_usd?.actual ?? 0) - actual / 100) < 0.01);
  });
});

Deno.test("estimates use the speed of finished jobs while the model trains on the same GPUs", async () => {
  const gpu = { gpu_type: "A100-80GB", num_gpus: 1, gpu_memory_gb: 80, cost_per_gpu_hour: 36 };
  const learned = { measured_tokens_per_second: null, measured_jobs: 0, measured_gpus: null };
  await withModel({ tokens_per_second: 10, gpu_config: sql.json(gpu), ...learned }, async () => {
    const training_file = await upload(user, twoRows);
    /** A job that reports this speed for so many steps. */
    const train = async (tokens_per_second: number, total_steps: number) => {
      const job = await user.openai.fineTuning.jobs.create({ model, training_file });
      await tunebase.tick();
      const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
      await worker.claim();
      await worker.report({ total_steps, metrics: [{ ...FakeWorker.metric(1), tokens_per_second }] });
      await worker.finishWithAdapter();
    };
    const basis = async () => (await estimate(user, { training_file })).time.basis.split(", plus")[0];
    const configured = "10 tokens per second, as configured on 1 × A100-80GB";
    assertEquals(await basis(), configured);
    await train(900, 19); // mostly its start
    assertEquals(await basis(), configured);
    await train(100, 20);
    assertEquals(await basis(), "100 tokens per second, as measured in a finished job on 1 × A100-80GB");
    await train(200, 40);
    assertEquals(await basis(), "150 tokens per second, as measured in 2 finished jobs on 1 × A100-80GB");
    const changed = sql.json({ ...gpu, gpu_type: "H100" });
    await withModel({ gpu_config: changed }, async () => {
      assertEquals(await basis(), "10 tokens per second, as configured on 1 × H100");
    });
  });
});
