/** `models`: base models, and the project's fine-tuned models. */
import { unwrap } from "../../client/mod.ts";
import { openSession } from "../api/session.ts";
import { addCommand, addGroup, type Command, type CommonOptions } from "../command.ts";
import { formatBytes, formatCount, formatTime, formatUsd } from "../terminal/format.ts";
import { print, printJson, printNote, printTable } from "../terminal/output.ts";

export function addModels(program: Command): void {
  const models = addGroup(program, "models", "List base models and your fine-tuned models");
  addCommand(models, "list", "List models with their GPU and price").action(list);
}

async function list(options: CommonOptions): Promise<void> {
  const { api } = await openSession();
  const models = unwrap(await api.GET("/models"));
  if (options.json) return printJson(models);
  const bases = models.data.flatMap((model) => "gpu" in model ? [model] : []);
  const tuned = models.data.flatMap((model) => "gpu" in model ? [] : [model]);
  if (bases.length === 0) {
    printNote("No base models are available. Ask the server's operator to add one.");
  } else {
    printTable([
      ["BASE MODEL", "MAX LENGTH", "GPU", "PRICE"],
      ...bases.map(({ id, max_length, gpu }) => [
        id,
        `${formatCount(max_length)} tokens`,
        `${gpu.num_gpus > 1 ? `${gpu.num_gpus} × ` : ""}${gpu.gpu_type}`,
        `${formatUsd(gpu.cost_per_gpu_hour * gpu.num_gpus)} per hour`,
      ]),
    ]);
  }
  if (tuned.length === 0) return;
  print();
  printTable([
    ["FINE-TUNED MODEL", "SIZE", "JOB", "CREATED"],
    ...tuned.map(({ id, bytes, job_id, created }) => [id, formatBytes(bytes), job_id, formatTime(created)]),
  ]);
}
