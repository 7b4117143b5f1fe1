/** `deploy` and `destroy`, as `task deploy`, `task destroy` and the published CLI offer them. */
import { addCommand, type Command, parseInteger } from "../cli/command.ts";
import { deploy, type DeployOptions } from "./deploy.ts";
import { destroy, type DestroyOptions } from "./destroy.ts";
import { type StartEmulators, withInstallation } from "./installation.ts";
import {
  addInstallationOptions,
  parseImage,
  parseItems,
  parseRef,
  parseRegion,
  parseUrl,
} from "./options.ts";
import { commandLine } from "./sources.ts";

/** Adds `deploy` and `destroy`. */
export function addDeploy(program: Command, startEmulators?: StartEmulators): void {
  const deployCommand = addInstallationOptions(
    addCommand(
      program,
      "deploy",
      "Deploy Tunebase to your Supabase project and RunPod account, or upgrade it",
      "print the plan and the checks as JSON on stdout",
    ),
    startEmulators,
  )
    .option("--dry-run", "show the plan and its cost, and change nothing")
    .option("--yes", "apply the plan without asking")
    .option("--project <ref>", "install in this Supabase project", parseRef)
    .option("--project-name <name>", "create a Supabase project with this name")
    .option("--organization <slug>", "the new project's organization; not needed if you have only one")
    .option(
      "--region <region>",
      "the new project's region: americas, emea, apac, or a specific one such as eu-west-1 (default: by your time zone)",
      parseRegion,
    )
    .option(
      "--models <ids>",
      "base models to offer, separated by commas, such as qwen3-8b,llama-3.1-8b",
      parseItems,
    )
    .option(
      "--gpu <pools>",
      "RunPod GPU pools for training, in order of preference, such as AMPERE_80,ADA_80_PRO (default: what the models need)",
      parseItems,
    )
    .option("--data-center <id>", "RunPod data center of the network volume, such as EU-RO-1")
    .option(
      "--max-workers <n>",
      "maximum number of concurrent GPU workers for training (default: 3)",
      parseInteger(1),
    )
    .option("--owner <email>", "email address of the first project's owner, who gets its API key")
    .option("--no-owner", "do not add an owner or create an API key")
    .option("--expose-schema", "expose the schema tunebase in the Data API")
    .option("--no-expose-schema", "do not expose it (default: keep the current setting)")
    .option(
      "--dashboard-url <url>",
      "URL of the hosted dashboard, which Auth may redirect to after sign-in",
      parseUrl,
    )
    .option("--trainer-image <image>", "the trainer's image, by digest", parseImage)
    .option("--inference-image <image>", "the inference worker's image, by digest", parseImage)
    .option(
      "--registry-username <name>",
      "user name for a private image registry; the password is TUNEBASE_REGISTRY_PASSWORD",
    )
    .option(
      "--smoke",
      "afterwards, fine-tune the first model on ten rows and call it by name; costs GPU time",
    )
    .addHelpText(
      "after",
      `
Environment: SUPABASE_ACCESS_TOKEN, RUNPOD_API_KEY (both are asked for if they are not set), HF_TOKEN for gated models.
The ids of what was created and the settings are in .tunebase/deploy/PROFILE.json, without secrets; later deployments
need only the options that change. Run the command again to continue after an interruption, to upgrade, or to repair
what was changed: it changes only what differs.

Examples:
  $ ${commandLine("deploy")} --dry-run --models qwen3-8b
  $ ${commandLine("deploy")} --project abcdefghijklmnopqrst --models qwen3-8b --owner you@example.com`,
    )
    .action((options: DeployOptions) =>
      withInstallation(
        options,
        startEmulators,
        (target, credentials, state) => deploy(options, target, credentials, state),
        { mustExist: false, changes: !options.dryRun },
      )
    );
  if (startEmulators !== undefined) {
    deployCommand.option("--no-smoke", "skip the smoke job, which is the default on emulators");
  }

  addInstallationOptions(
    addCommand(
      program,
      "destroy",
      "Remove Tunebase from your Supabase project and RunPod account",
      "print the plan as JSON on stdout",
    ),
    startEmulators,
  )
    .option(
      "--delete-data",
      "also delete all stored data: projects, files, adapters, the network volume",
    )
    .option("--dry-run", "show what would be removed, and change nothing")
    .option("--force", "even if jobs are running, or the Supabase project is gone")
    .option("--yes", "remove without asking")
    .action((options: DestroyOptions) =>
      withInstallation(
        options,
        startEmulators,
        (target, credentials, state) => destroy(options, target, credentials, state),
        { mustExist: true, changes: !options.dryRun },
      )
    );
}
