/** `adapter download`: the trained adapter, in a folder as PEFT and vLLM read it. */
import { relative } from "node:path";
import { type Schemas, unwrap } from "../client/mod.ts";
import { addCommand, addGroup, type Command, type Common, examples } from "./command.ts";
import { downloadAll } from "./download.ts";
import { note, print, printJson, size, Transfer } from "./output.ts";
import { openSession, type Session } from "./session.ts";

type Adapter = Schemas["Adapter"] | Schemas["CheckpointAdapter"];

export function addAdapter(program: Command): void {
  const adapter = addGroup(program, "adapter", "What a job has made");
  examples(
    addCommand(adapter, "download <job>", "Download and verify it; goes on where it broke off")
      .option("--dir <folder>", "where to; a folder named after the job unless said")
      .option("--checkpoint <id>", "a checkpoint's files instead")
      .action(download),
    "adapter download ftjob-0192… --dir support-bot",
  );
}

async function download(job: string, options: Common & { dir?: string; checkpoint?: string }): Promise<void> {
  const session = await openSession();
  const adapter = await describe(session, job, options.checkpoint);
  const folder = options.dir ?? `adapter-${options.checkpoint ?? job}`;
  const coming = new Transfer("downloading", adapter.total_bytes);
  const files = await downloadAll(
    folder,
    adapter.files,
    async () => (await describe(session, job, options.checkpoint)).files,
    (bytes) => coming.at(bytes),
  ).finally(() => coming.end());
  if (options.json) return printJson(adapter);
  adapter.files.forEach((file, i) => {
    const { path = file.path, was = "there" } = files[i] ?? {};
    print(
      `${was === "there" ? "there already" : "ok"}  ${relative("", path)}  ${
        size(file.bytes)
      }  sha256 ${file.sha256}`,
    );
  });
  note(`Every file is what the manifest says. Base model: ${adapter.base_model}.`);
}

async function describe({ api }: Session, id: string, checkpoint?: string): Promise<Adapter> {
  if (checkpoint === undefined) {
    return unwrap(await api.GET("/fine_tuning/jobs/{id}/adapter", { params: { path: { id } } }));
  }
  return unwrap(
    await api.GET("/fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter", {
      params: { path: { id, checkpoint } },
    }),
  );
}
