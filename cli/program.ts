/** Builds the command tree. */
import { Command } from "commander";
import { addCommand } from "./command.ts";
import { addAccount } from "./commands/account.ts";
import { addAdapter } from "./commands/adapter.ts";
import { addChat } from "./commands/chat.ts";
import { addCompletion } from "./commands/completion.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addEstimate } from "./commands/estimate.ts";
import { addEvaluations } from "./commands/evaluations.ts";
import { addFiles } from "./commands/files.ts";
import { addJobs } from "./commands/jobs/index.ts";
import { addKeys } from "./commands/keys.ts";
import { addModels } from "./commands/models.ts";
import { addOpen } from "./commands/open.ts";
import { addWebhooks } from "./commands/webhooks.ts";
import { addDeploy } from "../deploy/commands.ts";
import { print, printJson } from "./terminal/output.ts";
import { version } from "./version.ts";

/** A new program; call `parseAsync` to run it. */
export function createProgram(): Command {
  const program = new Command("tunebase")
    .description("Fine-tune open models on your own Supabase project and RunPod account.")
    .version(version, "-V, --version", "print the version")
    .exitOverride()
    .showHelpAfterError("(run with --help for usage)")
    .addHelpText(
      "after",
      `
Configuration: run \`tunebase login\`, or set TUNEBASE_BASE_URL and TUNEBASE_API_KEY.
Exit codes: 0 success, 1 failure, 2 invalid usage, 130 interrupted (a followed job keeps running).`,
    );
  addAccount(program);
  addFiles(program);
  addModels(program);
  addEstimate(program);
  addJobs(program);
  addOpen(program);
  addAdapter(program);
  addChat(program);
  addEvaluations(program);
  addKeys(program);
  addWebhooks(program);
  addDoctor(program);
  addDeploy(program);
  addCompletion(program);
  addCommand(program, "version", "Print the version")
    .action(({ json }: { json?: boolean }) => json ? printJson({ version }) : print(version));
  return program;
}
