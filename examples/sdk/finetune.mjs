/**
 * A fine-tune from a training file to the adapter and an answer by its name, with OpenAI's unmodified SDK for Node.
 *
 *     npm install openai
 *     OPENAI_BASE_URL=http://127.0.0.1:54321/functions/v1/tunebase OPENAI_API_KEY=tb_… node finetune.mjs rows.jsonl
 *
 * Endpoints that OpenAI's API does not have are called with `client.get` and `client.post`.
 */
import { createReadStream } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import OpenAI from "openai";

const client = new OpenAI();
const path = process.argv[2] ?? "rows.jsonl";
const file = await client.files.create({
  file: createReadStream(path),
  purpose: "fine-tune",
});
await client.files.waitForProcessing(file.id);
const [model] = (await client.models.list()).data;
const body = {
  model: model?.id ?? "",
  training_file: file.id,
  suffix: "example",
  hyperparameters: { n_epochs: 1, batch_size: 4 },
};

const estimate = await client.post("/fine_tuning/estimates", { body });
console.log(`${estimate.steps.total} steps, cost`, estimate.cost.usd);

let job = await client.fineTuning.jobs.create(body);
console.log(job.id, job.status);
let seen = 0;
while (job.finished_at === null) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  job = await client.fineTuning.jobs.retrieve(job.id);
  const events = [];
  for await (const event of client.fineTuning.jobs.listEvents(job.id)) events.unshift(event);
  for (const { message } of events.slice(seen)) console.log(" ", message);
  seen = events.length;
}
if (job.status !== "succeeded") throw new Error(`${job.status}: ${job.error?.message}`);

console.log((await (await client.files.content(job.result_files[0])).text()).trim().split("\n").at(-1));
const adapter = await client.get(`/fine_tuning/jobs/${job.id}/adapter`);
for (const { path, url } of adapter.files) {
  const response = await fetch(url);
  if (!response.ok || response.body === null) throw new Error(`${path}: HTTP ${response.status}`);
  const target = join(job.id, path);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, response.body);
}
console.log(`${job.fine_tuned_model} was saved to ${job.id}/`);

const [row] = (await readFile(path, "utf8")).split("\n");
const question = JSON.parse(row).messages.slice(0, -1);
for (const name of [body.model, job.fine_tuned_model]) {
  process.stdout.write(`${name}: `);
  // While the model loads, the stream waits.
  const answer = await client.chat.completions.create({
    model: name,
    messages: question,
    temperature: 0,
    max_completion_tokens: 50,
    stream: true,
  });
  for await (const chunk of answer) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  console.log();
}
