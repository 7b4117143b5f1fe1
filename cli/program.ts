/** The program: every group of commands, and what they share. */
import { Command } from "commander";
import { addAccount } from "./account.ts";
import { addAdapter } from "./adapter.ts";
import { addCompletion } from "./completion.ts";
import { addDoctor } from "./doctor.ts";
import { addEstimate } from "./estimate.ts";
import { addFiles } from "./files.ts";
import { addJobs } from "./jobs.ts";
import { addKeys } from "./keys.ts";
import { addModels } from "./models.ts";
import { version } from "./version.ts";
import { addWebhooks } from "./webhooks.ts";

/** A fresh program; `parseAsync` runs it. */
export function createProgram(): Command {
  const program = new Command("tunebase")
    .description("Fine-tune open models on your own Supabase project and RunPod account.")
    .version(version)
    .exitOverride()
    .showHelpAfterError("(--help says more)")
    .addHelpText(
      "after",
      `
Settings: \`tunebase login\`, or TUNEBASE_BASE_URL and TUNEBASE_API_KEY in the environment.
Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 130 interrupted (a job that was followed goes on).`,
    );
  addAccount(program);
  addFiles(program);
  addModels(program);
  addEstimate(program);
  addJobs(program);
  addAdapter(program);
  addKeys(program);
  addWebhooks(program);
  addDoctor(program);
  addCompletion(program);
  return program;
}
