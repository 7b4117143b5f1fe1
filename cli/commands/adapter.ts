/** `adapter`: `download` saves the adapter in a folder that PEFT and vLLM can load. */
import { join, relative } from "node:path";
import { resolveJob } from "../api/job_reference.ts";
import { openSession } from "../api/session.ts";
import {
  addCommand,
  addExamples,
  addGroup,
  type Command,
  type CommonOptions,
  explainJobArgument,
} from "../command.ts";
import { formatBytes } from "../terminal/format.ts";
import { print, printJson, printNote } from "../terminal/output.ts";
import { downloadAdapter, getAdapter, manifestName } from "../transfers/adapter.ts";
import { addPush } from "./push.ts";

export function addAdapter(program: Command): void {
  const adapter = explainJobArgument(
    addGroup(program, "adapter", "Download trained adapters, or push them to the Hugging Face Hub"),
  );
  addExamples(
    addCommand(
      adapter,
      "download <job>",
      "Download and verify a job's adapter; resumes an interrupted download",
    )
      .option("--dir <folder>", "target folder (default: adapter-<job>)")
      .option("--checkpoint <id>", "download a checkpoint instead of the final adapter")
      .action(download),
    "adapter download ftjob-0192… --dir support-bot",
    "adapter download latest",
  );
  addPush(adapter);
}

async function download(
  reference: string,
  options: CommonOptions & { dir?: string; checkpoint?: string },
): Promise<void> {
  const session = await openSession();
  const job = await resolveJob(session, reference);
  const adapter = await getAdapter(session, job, options.checkpoint);
  const folder = options.dir ?? `adapter-${options.checkpoint ?? job}`;
  const files = await downloadAdapter(session, adapter, folder, job, options.checkpoint);
  if (options.json) return printJson(adapter);
  adapter.files.forEach((file, i) => {
    const { path = file.path, result = "unchanged" } = files[i] ?? {};
    print(
      `${result.padEnd("downloaded".length)}  ${relative("", path)}  ${
        formatBytes(file.bytes)
      }  sha256 ${file.sha256}`,
    );
  });
  printNote(`All files match ${relative("", join(folder, manifestName))}. Base model: ${adapter.base_model}`);
  const card = adapter.files.find(({ path }) => path === "README.md");
  if (card !== undefined) printNote(`For code that loads it: ${relative("", join(folder, card.path))}`);
}
