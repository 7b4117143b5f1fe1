/** `adapter push`: uploads an adapter to a model repository of the Hugging Face Hub. */
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { findHubRepositoryProblem } from "../../supabase/functions/_shared/contracts/hub_repository.ts";
import { resolveJob } from "../api/job_reference.ts";
import { openSession } from "../api/session.ts";
import { readIfExists } from "../api/settings.ts";
import { addCommand, addExamples, type Command, type CommonOptions } from "../command.ts";
import { CliError, exitCodes } from "../errors.ts";
import { Hub } from "../hub/client.ts";
import { formatBytes, pluralize } from "../terminal/format.ts";
import { print, printJson, printNote } from "../terminal/output.ts";
import { TransferProgress } from "../terminal/transfer_progress.ts";
import { downloadAdapter, getAdapter, manifestName } from "../transfers/adapter.ts";

interface PushOptions extends CommonOptions {
  checkpoint?: string;
  public?: boolean;
  dir?: string;
  message?: string;
}

export function addPush(adapter: Command): void {
  addExamples(
    addCommand(
      adapter,
      "push <job> <repository>",
      "Push a job's adapter to a model repository of the Hugging Face Hub; creates the repository",
    )
      .option("--public", "create a public repository (default: private), without samples.json")
      .option("--checkpoint <id>", "push a checkpoint instead of the final adapter")
      .option("--dir <folder>", "folder with the downloaded adapter (default: a temporary one)")
      .option("--message <text>", "commit message")
      .addHelpText("after", "\nThe token is HF_TOKEN, or the one that `hf auth login` stored.")
      .action(push),
    "adapter push latest acme/support-bot",
    "adapter push ftjob-0192… support-bot --public",
  );
}

async function push(reference: string, repository: string, options: PushOptions): Promise<void> {
  const problem = findHubRepositoryProblem(repository.includes("/") ? repository : `user/${repository}`);
  if (problem !== null) {
    throw new CliError(`${repository} is not the name of a repository: it ${problem}.`, exitCodes.usage);
  }
  const hub = new Hub(await readToken());
  const session = await openSession();
  const job = await resolveJob(session, reference);
  const adapter = await getAdapter(session, job, options.checkpoint);
  const user = await hub.user();
  const name = repository.includes("/") ? repository : `${user}/${repository}`;

  const folder = options.dir ?? await mkdtemp(join(tmpdir(), "tunebase-"));
  try {
    await downloadAdapter(session, adapter, folder, job, options.checkpoint);
    // It has rows of the dataset.
    const pushed = adapter.files.filter(({ path }) => !options.public || path !== "samples.json");
    const files = [...pushed.map(({ path }) => path), manifestName]
      .map((path) => ({ path, local: join(folder, path) }));
    const isNew = await hub.createRepository(name, options.public !== true);
    if (!isNew && !options.public && await hub.isPublic(name)) {
      throw new CliError(`${name} is a public repository. Add --public to push the adapter to it.`);
    }
    const bytes = new Map(pushed.map((file) => [file.path, file.bytes]));
    const total = pushed.reduce((sum, file) => sum + file.bytes, 0);
    const progress = new TransferProgress("uploading", total);
    let sent = 0;
    const message = options.message ?? `Upload the adapter of ${options.checkpoint ?? job}`;
    const commit = await hub.commit(
      name,
      message,
      files,
      (path) => progress.update(sent += bytes.get(path) ?? 0),
    )
      .finally(() => progress.end());
    const url = `${hub.url}/${name}`;
    if (options.json) {
      return printJson({ object: "hub.push", repository: name, url, commit });
    }
    print(`Pushed ${pluralize(files.length, "file")} (${formatBytes(total)}) to ${url}`);
    if (isNew && options.public !== true) {
      printNote("The repository is private. To publish it, change its visibility in its settings.");
    }
  } finally {
    if (options.dir === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** The user's token, where the Hub's own tools keep it. */
async function readToken(): Promise<string> {
  const home = process.env.HF_HOME ||
    join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  const token = process.env.HF_TOKEN ||
    (await readIfExists(process.env.HF_TOKEN_PATH || join(home, "token")))?.trim();
  if (token) return token;
  throw new CliError(
    "No Hugging Face token found. Set HF_TOKEN to one with write access (https://huggingface.co/settings/tokens), " +
      "or run `hf auth login`.",
    exitCodes.usage,
  );
}
