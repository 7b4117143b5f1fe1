/** `task demo`: a fine-tune from end to end, as a client of the official OpenAI SDK. */
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { buildDashboard } from "../../local/commands/dashboard.ts";
import { cache, homeDirectory, root } from "../../local/state_dir.ts";
import { install } from "../../local/commands/install.ts";
import { Adapter, downloadAdapter } from "./adapter.ts";
import { chat, isServable, warm } from "./chat.ts";
import { evaluate, prepareModel } from "./evaluate.ts";
import { follow, type Screen } from "./follow.ts";
import { countRows, help, type Options, readOptions } from "./options.ts";
import { type DemoRecord, emptyRecord, isTunedBetter, printSummary, writeRecord } from "./record.ts";
import { findTarget } from "./target.ts";

const examples = fileURLToPath(new URL("../", import.meta.url));
const startedAt = performance.now();
const secondsSince = (from: number) => Math.round((performance.now() - from) / 100) / 10;

const isLive = Deno.stdout.isTerminal();
const screen: Screen = {
  isLive,
  width: isLive ? Deno.consoleSize().columns : 110,
  line: (text) => console.log(isLive ? `\r\x1b[K${text}` : text),
  bar: (text) => Deno.stdout.writeSync(new TextEncoder().encode(`\r\x1b[K${text ?? ""}`)) && undefined,
};
const heading = (text: string) => {
  screen.line("");
  screen.line(text);
};

try {
  const options = readOptions(Deno.args, examples);
  if (options === null) {
    console.log(help);
    Deno.exit(0);
  }
  Deno.exit(await runDemo(options) ? 0 : 1);
} catch (error) {
  screen.line(error instanceof Error ? error.message : String(error));
  if (error instanceof OpenAI.APIError && error.error) screen.line(JSON.stringify(error.error));
  Deno.exit(1);
}

/** Returns whether the job succeeded, every hash matched and the fine-tuned model beats the base model. */
async function runDemo(options: Options): Promise<boolean> {
  const rows = await countRows("--data", options.data);
  const heldoutRows = await countRows("--heldout", options.heldout);
  const record = emptyRecord();
  const recordPath = `${cache}/demo.json`;
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => controller.abort(name));
  }

  heading("1. Install dependencies");
  let from = performance.now();
  await install(screen.line);
  record.seconds.install = secondsSince(from);
  screen.line(`ready (${record.seconds.install} s)`);

  heading("2. Start Tunebase");
  from = performance.now();
  const target = await findTarget(screen.line);
  record.seconds.stack = secondsSince(from);
  try {
    if (options.open && target.dashboard === null) {
      throw new Error("--open works only with the embedded stack. Unset TUNEBASE_BASE_URL to use it.");
    }
    from = performance.now();
    const base = await prepareModel(options.model, screen.line);
    record.seconds.model = secondsSince(from);
    screen.line(`base model ready (${record.seconds.model} s)`);

    heading("3. Fine-tune with the official OpenAI SDK: upload, create a job, follow it");
    const client = new OpenAI({ baseURL: target.baseUrl, apiKey: target.apiKey });
    const file = await client.files.create({
      file: new File([await Deno.readFile(options.data)], options.data.split("/").at(-1) ?? "data.jsonl"),
      purpose: "fine-tune",
    });
    screen.line(`files.create: ${file.id} (${rows} rows)`);
    from = performance.now();
    const hyperparameters = {
      n_epochs: options.epochs,
      batch_size: options.batchSize,
      // Tunebase's own hyperparameters; the SDK sends them unchanged.
      learning_rate: options.learningRate,
      lora_rank: options.loraRank,
      lora_alpha: Math.max(8, 2 * options.loraRank),
      lora_dropout: 0,
      // The demo evaluates on separate rows, so it trains on all of these.
      validation_split: 0,
    };
    const job = await client.fineTuning.jobs.create({
      model: options.model,
      training_file: file.id,
      suffix: "demo",
      method: { type: "supervised", supervised: { hyperparameters } },
    });
    record.job_id = job.id;
    if (options.open && target.dashboard !== null) await openDashboard(target.dashboard);
    screen.line(`fineTuning.jobs.create: ${job.id}`);
    const followed = await follow(client, job.id, screen, controller.signal).catch(async (error) => {
      if (controller.signal.aborted) await client.fineTuning.jobs.cancel(job.id);
      throw error;
    });
    record.seconds.train = secondsSince(from);
    record.status = followed.status;
    record.train = {
      steps: followed.steps,
      first_loss: followed.firstLoss,
      last_loss: followed.lastLoss,
      tokens_per_second: followed.tokensPerSecond,
    };
    if (followed.status !== "succeeded") {
      screen.line(`The job ${followed.status}: ${followed.error ?? "no reason was given"}`);
      return false;
    }

    heading("4. Download and verify the adapter");
    const adapter = Adapter.parse(await client.get(`/fine_tuning/jobs/${job.id}/adapter`));
    const directory = `${homeDirectory()}/demo/${job.id}/adapter`;
    await downloadAdapter(adapter, directory);
    record.adapter.files = adapter.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 }));
    for (const { path, bytes, sha256 } of adapter.files) {
      screen.line(`${path}  ${bytes} bytes  sha256 ${sha256}  verified`);
    }

    const models = { base: options.model, tuned: followed.model ?? "" };
    const servable = await isServable(client, models.tuned) && await isServable(client, models.base);
    // The engine loads while the evaluation below runs.
    if (servable) await warm(client, models.base);

    heading(
      `5. Compare base and fine-tuned on ${heldoutRows} held-out rows, with plain transformers and PEFT`,
    );
    const evaluation = await evaluate(
      { base, adapter: directory, heldout: options.heldout },
      screen.line,
      controller.signal,
    );
    const { rows: evaluatedRows, base_exact, tuned_exact, base_loss, tuned_loss } = evaluation;
    record.heldout = { rows: evaluatedRows, base_exact, tuned_exact, base_loss, tuned_loss };

    heading("6. Call both models by name with the OpenAI SDK");
    from = performance.now();
    if (servable) {
      await warm(client, models.tuned);
      record.chat = await chat(client, models, options.heldout, evaluation, screen.line, controller.signal);
      record.seconds.chat = secondsSince(from);
    } else screen.line("This server does not serve the model; see GET /models.");
    record.versions = await collectVersions({ ...adapter.manifest.versions, ...evaluation.versions });
    record.seconds.total = secondsSince(startedAt);
    printSummary(record, evaluation.samples, screen.line);
    if (options.open) {
      screen.line("\nThe dashboard keeps running. Press Ctrl-C to stop.");
      await new Promise((resolve) => controller.signal.addEventListener("abort", resolve));
    }
    return isTunedBetter(record);
  } catch (error) {
    if (controller.signal.aborted) {
      screen.line("\nInterrupted; the job was cancelled.");
      record.status = "cancelled";
      await target.stop();
      Deno.exit(130);
    }
    throw error;
  } finally {
    record.seconds.total = secondsSince(startedAt);
    await writeRecord(recordPath, record);
    await target.stop();
    screen.line(`Results written to ${recordPath}`);
  }
}

/** Builds the dashboard if needed, and opens it in a browser. */
async function openDashboard(createLink: () => Promise<string>): Promise<void> {
  await buildDashboard(screen.line);
  const link = await createLink();
  screen.line(`Dashboard (one-time sign-in link): ${link}`);
  // Without a browser, the user can copy the link above.
  await new Deno.Command("xdg-open", { args: [link], stdin: "null", stdout: "null", stderr: "null" }).output()
    .catch(() => {});
}

async function collectVersions(python: { [name: string]: string }): Promise<DemoRecord["versions"]> {
  const map: { imports: { [name: string]: string } } = JSON.parse(
    await Deno.readTextFile(`${root}import_map.json`),
  );
  return { deno: Deno.version.deno, openai: map.imports.openai?.split("@").at(-1) ?? "", ...python };
}
