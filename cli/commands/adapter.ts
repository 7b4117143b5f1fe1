/** `adapter download`: saves the adapter in a folder that PEFT and vLLM can load. */
import { relative } from "node:path";
import { type Schemas, unwrap } from "../../client/mod.ts";
import { openSession, type Session } from "../api/session.ts";
import { addCommand, addExamples, addGroup, type Command, type CommonOptions } from "../command.ts";
import { formatBytes } from "../terminal/format.ts";
import { print, printJson, printNote } from "../terminal/output.ts";
import { TransferProgress } from "../terminal/transfer_progress.ts";
import { downloadAll } from "../transfers/download.ts";

type Adapter = Schemas["Adapter"] | Schemas["CheckpointAdapter"];

export function addAdapter(program: Command): void {
  const adapter = addGroup(program, "adapter", "Download trained adapters");
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
  );
}

async function download(
  job: string,
  options: CommonOptions & { dir?: string; checkpoint?: string },
): Promise<void> {
  const session = await openSession();
  const adapter = await getAdapter(session, job, options.checkpoint);
  const folder = options.dir ?? `adapter-${options.checkpoint ?? job}`;
  const progress = new TransferProgress("downloading", adapter.total_bytes);
  const files = await downloadAll(
    folder,
    adapter.files,
    async () => (await getAdapter(session, job, options.checkpoint)).files,
    (bytes) => progress.update(bytes),
  ).finally(() => progress.end());
  if (options.json) return printJson(adapter);
  adapter.files.forEach((file, i) => {
    const { path = file.path, result = "unchanged" } = files[i] ?? {};
    print(
      `${result.padEnd("downloaded".length)}  ${relative("", path)}  ${
        formatBytes(file.bytes)
      }  sha256 ${file.sha256}`,
    );
  });
  printNote(`All files match the manifest. Base model: ${adapter.base_model}`);
}

async function getAdapter({ api }: Session, id: string, checkpoint?: string): Promise<Adapter> {
  if (checkpoint === undefined) {
    return unwrap(await api.GET("/fine_tuning/jobs/{id}/adapter", { params: { path: { id } } }));
  }
  return unwrap(
    await api.GET("/fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter", {
      params: { path: { id, checkpoint } },
    }),
  );
}
