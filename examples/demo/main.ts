/** `task demo`: the main job from end to end, as a client with the official OpenAI SDK and a base URL. */
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { buildDashboard } from "../../local/commands/dashboard.ts";
import { cache, homeDirectory, root } from "../../local/state_dir.ts";
import { install } from "../../local/commands/install.ts";
import { Adapter, downloadAdapter } from "./adapter.ts";
import { evaluate, prepareModel } from "./evaluate.ts";
import { follow, type Screen } from "./follow.ts";
import { countRows, help, type Options, readOptions } from "./options.ts";
import { emptyRecord, printSummary, type Record, tunedIsBetter, writeRecord } from "./record.ts";
import { findTarget } from "./target.ts";

const examples = fileURLToPath(new URL("../", import.meta.url));
const begin = performance.now();
const since = (from: number) => Math.round((performance.now() - from) / 100) / 10;

const live = Deno.stdout.isTerminal();
const screen: Screen = {
  live,
  width: live ? Deno.consoleSize().columns : 110,
  line: (text) => console.log(live ? `\r\x1b[K${text}` : text),
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
  Deno.exit(await demo(options) ? 0 : 1);
} catch (error) {
  screen.line(error instanceof Error ? error.message : String(error));
  if (error instanceof OpenAI.APIError && error.error) screen.line(JSON.stringify(error.error));
  Deno.exit(1);
}

/** Runs the whole job; true when it succeeded, every hash matched and tuned beats base. */
async function demo(options: Options): Promise<boolean> {
  const rows = await countRows("--data", options.data);
  const heldoutRows = await countRows("--heldout", options.heldout);
  const record = emptyRecord();
  const place = `${cache}/demo.json`;
  const stopping = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(name, () => stopping.abort(name));

  heading("1. Install what is missing");
  let from = performance.now();
  await install(screen.line);
  record.seconds.install = since(from);
  screen.line(`ready (${record.seconds.install} s)`);

  heading("2. Start Tunebase");
  from = performance.now();
  const target = await findTarget(screen.line);
  record.seconds.stack = since(from);
  try {
    if (options.open && target.dashboard === null) {
      throw new Error("--open shows the embedded stack's dashboard: leave TUNEBASE_BASE_URL unset with it.");
    }
    from = performance.now();
    const base = await prepareModel(options.model, screen.line);
    record.seconds.model = since(from);
    screen.line(`the base model is ready (${record.seconds.model} s)`);

    heading("3. Upload, create the job, follow it: the official OpenAI SDK with another base URL");
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
      // Tunebase's own, beside OpenAI's: the SDK sends what it is given.
      learning_rate: options.learningRate,
      lora_rank: options.loraRank,
      lora_alpha: Math.max(8, 2 * options.loraRank),
      lora_dropout: 0,
      // It is judged by rows of its own at the end: all of these are to learn from.
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
    const followed = await follow(client, job.id, screen, stopping.signal).catch(async (error) => {
      if (stopping.signal.aborted) await client.fineTuning.jobs.cancel(job.id);
      throw error;
    });
    record.seconds.train = since(from);
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

    heading("4. Download the adapter and check it");
    const adapter = Adapter.parse(await client.get(`/fine_tuning/jobs/${job.id}/adapter`));
    const directory = `${homeDirectory()}/demo/${job.id}/adapter`;
    await downloadAdapter(adapter, directory);
    record.adapter.files = adapter.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 }));
    for (const { path, bytes, sha256 } of adapter.files) {
      screen.line(`${path}  ${bytes} bytes  sha256 ${sha256}  matches`);
    }

    heading(
      `5. Base against tuned on ${heldoutRows} rows that were never uploaded, with plain transformers and PEFT`,
    );
    const evaluation = await evaluate(
      { base, adapter: directory, heldout: options.heldout },
      screen.line,
      stopping.signal,
    );
    const { rows: judged, base_exact, tuned_exact, base_loss, tuned_loss } = evaluation;
    record.heldout = { rows: judged, base_exact, tuned_exact, base_loss, tuned_loss };
    record.versions = await versions({ ...adapter.manifest.versions, ...evaluation.versions });
    record.seconds.total = since(begin);
    printSummary(record, evaluation.samples, screen.line);
    if (options.open) {
      screen.line("\nThe dashboard stays up until Ctrl-C.");
      await new Promise((resolve) => stopping.signal.addEventListener("abort", resolve));
    }
    return tunedIsBetter(record);
  } catch (error) {
    if (stopping.signal.aborted) {
      screen.line("\nstopped; the job is cancelled");
      record.status = "cancelled";
      await target.stop();
      Deno.exit(130);
    }
    throw error;
  } finally {
    record.seconds.total = since(begin);
    await writeRecord(place, record);
    await target.stop();
    screen.line(`written: ${place}`);
  }
}

/** Builds the dashboard if need be, and opens it where there is a browser. */
async function openDashboard(makeLink: () => Promise<string>): Promise<void> {
  await buildDashboard(screen.line);
  const link = await makeLink();
  screen.line(`the dashboard, signed in (the link works once): ${link}`);
  // Where there is none, the line above is for copying.
  await new Deno.Command("xdg-open", { args: [link], stdin: "null", stdout: "null", stderr: "null" }).output()
    .catch(() => {});
}

async function versions(python: { [name: string]: string }): Promise<Record["versions"]> {
  const map: { imports: { [name: string]: string } } = JSON.parse(
    await Deno.readTextFile(`${root}import_map.json`),
  );
  return { deno: Deno.version.deno, openai: map.imports.openai?.split("@").at(-1) ?? "", ...python };
}
