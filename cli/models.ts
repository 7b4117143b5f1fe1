/** `models`: what can be trained, and what was. */
import { unwrap } from "../client/mod.ts";
import { addCommand, addGroup, type Command, type Common } from "./command.ts";
import { count, note, print, printJson, printTable, size, when } from "./output.ts";
import { usd } from "./progress_bar.ts";
import { openSession } from "./session.ts";

export function addModels(program: Command): void {
  const models = addGroup(program, "models", "Base models on offer, and your own fine-tunes");
  addCommand(models, "list", "List both, with GPU and price").action(list);
}

async function list(options: Common): Promise<void> {
  const { api } = await openSession();
  const found = unwrap(await api.GET("/models"));
  if (options.json) return printJson(found);
  const bases = found.data.flatMap((model) => "gpu" in model ? [model] : []);
  const tuned = found.data.flatMap((model) => "gpu" in model ? [] : [model]);
  if (bases.length === 0) {
    note("This server offers no model. Its operator must add one.");
  } else {
    printTable([
      ["BASE MODEL", "LONGEST ROW", "GPU", "PRICE"],
      ...bases.map(({ id, max_length, gpu }) => [
        id,
        `${count(max_length)} tokens`,
        `${gpu.num_gpus > 1 ? `${gpu.num_gpus} × ` : ""}${gpu.gpu_type}`,
        `${usd(gpu.cost_per_gpu_hour * gpu.num_gpus)} an hour`,
      ]),
    ]);
  }
  if (tuned.length === 0) return;
  print();
  printTable([
    ["FINE-TUNE", "SIZE", "JOB", "CREATED"],
    ...tuned.map(({ id, bytes, job_id, created }) => [id, size(bytes), job_id, when(created)]),
  ]);
}
