/** `adapter push`: uploads an adapter to a model repository of the Hugging Face Hub. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, readFile, rm, stat } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { resolveJob } from "../api/job_reference.ts";
import { openSession } from "../api/session.ts";
import { readIfExists } from "../api/settings.ts";
import { addCommand, addExamples, type Command, type CommonOptions } from "../command.ts";
import { CliError, exitCodes } from "../errors.ts";
import { Hub, type HubFile } from "../hub/client.ts";
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

const sampleBytes = 512;

export function addPush(adapter: Command): void {
  addExamples(
    addCommand(
      adapter,
      "push <job> <repository>",
      "Push a job's adapter to a model repository of the Hugging Face Hub; creates the repository",
    )
      .option("--public", "create a public repository (default: private)")
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
  if (!/^([\w.-]+\/)?[\w.-]+$/.test(repository)) {
    throw new CliError(
      `${repository} is not the name of a repository, such as acme/support-bot.`,
      exitCodes.usage,
    );
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
    const files = await Promise.all(
      [...adapter.files.map(({ path }) => path), manifestName].map((path) => describe(folder, path)),
    );
    const isNew = await hub.createRepository(name, options.public !== true, user);
    if (!isNew && !options.public && await hub.isPublic(name)) {
      throw new CliError(`${name} is a public repository. Add --public to push the adapter to it.`);
    }
    const modes = await hub.uploadModes(name, files);
    const large = files.filter(({ path }) => modes.get(path) === "lfs");
    const progress = new TransferProgress("uploading", large.reduce((sum, { bytes }) => sum + bytes, 0));
    await hub.uploadLfs(name, large, (bytes) => progress.update(bytes)).finally(() => progress.end());
    const small = files.filter(({ path }) => modes.get(path) === "regular");
    const contents = await Promise.all(
      small.map(async ({ path, local }) => ({ path, content: await readFile(local) })),
    );
    const message = options.message ?? `Upload the adapter of ${options.checkpoint ?? job}`;
    const commit = await hub.commit(name, message, contents, large);
    const url = `${hub.url}/${name}`;
    if (options.json) {
      return printJson({ object: "hub.push", repository: name, url, commit: commit.commitOid });
    }
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    print(`Pushed ${pluralize(files.length, "file")} (${formatBytes(total)}) to ${url}`);
    if (isNew && options.public !== true) {
      printNote("The repository is private. To publish it, change its visibility in its settings.");
    }
  } finally {
    if (options.dir === undefined) await rm(folder, { recursive: true, force: true });
  }
}

async function describe(folder: string, path: string): Promise<HubFile> {
  const local = join(folder, path);
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(local)) hash.update(chunk);
  const file = await open(local);
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(sampleBytes), 0, sampleBytes, 0);
    const { size } = await stat(local);
    return { path, local, bytes: size, sha256: hash.digest("hex"), sample: buffer.subarray(0, bytesRead) };
  } finally {
    await file.close();
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
