/** `deploy` and `destroy`, as `task deploy`, `task destroy` and the published CLI offer them. */
import { rm } from "node:fs/promises";
import process from "node:process";
import * as z from "zod";
import { addCommand, type Command, InvalidArgumentError, parseInteger, parseList } from "../cli/command.ts";
import { CliError, exitCodes } from "../cli/errors.ts";
import { confirm, isInteractive } from "../cli/terminal/prompt.ts";
import { print, printJson, printNote, stdoutColors } from "../cli/terminal/output.ts";
import { chosenModels } from "./catalog.ts";
import { type Costs, planCosts } from "./costs.ts";
import { hasRelation } from "./database.ts";
import { doctorOf } from "./doctor/doctor.ts";
import { DeployError } from "./errors.ts";
import { applySteps, type PlannedStep, planRemovals, planSteps, removeSteps } from "./plan.ts";
import { PlatformError, suggestFix } from "./platforms/request.ts";
import { RunpodApi } from "./platforms/runpod.ts";
import { SupabaseApi } from "./platforms/supabase.ts";
import {
  type Credentials,
  type DeployOptions,
  readCredentials,
  readSettings,
  savedSettings,
} from "./questions.ts";
import { commandLine } from "./sources.ts";
import {
  deleteState,
  listProfiles,
  loadState,
  lockProfile,
  type SavedSettings,
  saveState,
  type State,
  stateFile,
} from "./state.ts";
import type { Context, Settings } from "./step.ts";
import { smokeTest } from "./smoke.ts";
import { credentialsFile, readCredentials as readApiKey } from "./steps/owner.ts";
import { steps } from "./steps/mod.ts";
import { masterKey } from "./steps/supabase_master_key.ts";
import { rejectOtherProfile } from "./steps/supabase_secrets.ts";
import { hosted, type Target } from "./target.ts";

/** Emulators of both platforms: where they are, and the credentials that they accept. */
export interface EmulatedPlatforms extends Credentials {
  target: Target;
  stop(): Promise<void>;
}

/** Starts the emulators; absent in the published CLI, which contains none. */
export type StartEmulators = (profile: string) => Promise<EmulatedPlatforms>;

export interface CommonDeployOptions {
  profile: string;
  target: "hosted" | "emulators";
  json?: boolean;
}

interface Deploy extends CommonDeployOptions, Omit<DeployOptions, "profile"> {
  dryRun?: boolean;
  yes?: boolean;
  smoke?: boolean;
}

interface Destroy extends CommonDeployOptions {
  deleteData?: boolean;
  dryRun?: boolean;
  force?: boolean;
  yes?: boolean;
}

/** Adds the options that every command about an installation has. */
export function addInstallationOptions(command: Command, startEmulators?: StartEmulators): Command {
  command.option("--profile <name>", "the installation, if you have several", parseProfile, "default");
  if (startEmulators !== undefined) {
    command.option(
      "--target <target>",
      "hosted, or emulators: Supabase and RunPod emulated on this machine",
      parseTarget,
      "hosted",
    );
  }
  return command;
}

/** Adds `deploy` and `destroy`. */
export function addDeploy(program: Command, startEmulators?: StartEmulators): void {
  const deployCommand = addInstallationOptions(
    addCommand(
      program,
      "deploy",
      "Deploy Tunebase to your Supabase project and RunPod account, or upgrade it",
      "print the plan as JSON on stdout",
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
      "RunPod GPU pools for training, the preferred first, such as AMPERE_80,ADA_80_PRO (default: what the models need)",
      parseItems,
    )
    .option("--data-center <id>", "RunPod data center of the network volume, such as EU-RO-1")
    .option("--max-workers <n>", "most GPU workers that train at the same time (default: 3)", parseInteger(1))
    .option("--owner <email>", "who owns the first project; gets its API key")
    .option("--no-owner", "name no owner and create no API key")
    .option("--expose-schema", "add tunebase to the schemas of the Data API")
    .option(
      "--dashboard-url <url>",
      "where the dashboard is hosted: Auth may redirect there after a sign-in",
      parseUrl,
    )
    .option("--trainer-image <image>", "the trainer's image, by digest", parseImage)
    .option("--inference-image <image>", "the inference worker's image, by digest", parseImage)
    .option(
      "--registry-username <name>",
      "user of a private image registry; the password is TUNEBASE_REGISTRY_PASSWORD",
    )
    .option("--smoke", "afterwards, fine-tune the first model on 20 rows and call it by name; costs GPU time")
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
    .action((options: Deploy) =>
      withInstallation(
        options,
        startEmulators,
        (target, credentials, state) => deploy(options, target, credentials, state),
        { mustExist: false, changes: !options.dryRun },
      )
    );
  if (startEmulators !== undefined) {
    deployCommand.option("--no-smoke", "on emulators, where it is the default: skip that");
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
      "also delete everything that is stored: projects, files, adapters, the network volume",
    )
    .option("--dry-run", "show what would be removed, and change nothing")
    .option("--force", "even if jobs are running, or the Supabase project is gone")
    .option("--yes", "remove without asking")
    .action((options: Destroy) =>
      withInstallation(
        options,
        startEmulators,
        (target, credentials, state) => destroy(options, target, credentials, state),
        { mustExist: true, changes: !options.dryRun },
      )
    );
}

interface InstallationAccess {
  /** The command is for an installation that exists. */
  mustExist: boolean;
  /** The command changes it: one at a time. */
  changes: boolean;
}

/** Runs a command for a profile: reads credentials and state, starts emulators if they are the target, explains failures. */
export async function withInstallation(
  options: CommonDeployOptions,
  startEmulators: StartEmulators | undefined,
  work: (target: Target, credentials: Credentials, state: State) => Promise<void>,
  { mustExist, changes }: InstallationAccess,
): Promise<void> {
  const { profile, target = "hosted" } = options;
  let unlock: (() => Promise<void>) | undefined;
  let emulators: EmulatedPlatforms | undefined;
  try {
    if (changes) unlock = await lockProfile(profile);
    // A wrong profile is reported before anyone is asked for credentials.
    const state = await loadState(profile, target);
    if (mustExist) await requireDeployed(state);
    if (target === "emulators") emulators = await startEmulators?.(profile);
    await work(emulators?.target ?? hosted, emulators ?? await readCredentials(), state);
  } catch (error) {
    if (error instanceof DeployError) throw new CliError(`${error.message}\n${error.fix}`);
    if (error instanceof PlatformError) {
      throw new CliError(`${error.platform}: ${error.message}\n${suggestFix(error)}`);
    }
    throw error;
  } finally {
    await emulators?.stop();
    await unlock?.();
  }
}

/** The settings of a deployed profile. Throws an Error if there are none; see `mustExist` of {@link withInstallation}. */
export function deployedSettings({ profile, settings }: State): SavedSettings {
  if (settings === null) throw new Error(`profile ${profile} is not deployed`);
  return settings;
}

async function requireDeployed({ profile, target, project, settings }: State): Promise<void> {
  if (project !== null && settings !== null) return;
  const others = (await listProfiles()).filter((other) => other !== profile);
  const command = `${commandLine("deploy")}${target === "emulators" ? " --target emulators" : ""}`;
  throw new DeployError(
    `Profile ${profile} is not deployed: ${stateFile(profile)} names no project.`,
    others.length === 0
      ? `Run ${command} first, in this folder.`
      : `Choose another --profile (${others.join(", ")}), or run ${command} first.`,
  );
}

/** What steps and checks work on. */
export function createContext(
  target: Target,
  { supabaseToken, runpodKey }: Credentials,
  state: State,
  settings: Settings,
): Context {
  const supabase = new SupabaseApi(target.supabaseApi, supabaseToken, () => state.project);
  return {
    settings,
    target,
    state,
    supabase,
    runpod: new RunpodApi(target.runpodRest, runpodKey),
    runpodKey,
    masterKey: () => masterKey(supabase),
    log: printNote,
  };
}

async function deploy(
  options: Deploy,
  target: Target,
  credentials: Credentials,
  state: State,
): Promise<void> {
  const settings = await readSettings(options, state, target, credentials);
  const context = createContext(target, credentials, state, settings);
  const planned = await planSteps(steps, context);
  const costs = await planCosts(context);
  const changes = planned.flatMap((one) => one.changes);
  if (options.json) {
    printJson({
      profile: settings.profile,
      changes: planned.flatMap(({ step, changes }) =>
        changes.map((change) => ({ step: step.id, ...change }))
      ),
      costs,
    });
  } else {
    printPlan(planned);
    if (changes.length > 0) {
      printCosts(costs);
      if (target.name === "emulators") print("  Nothing is billed: the accounts are emulated.");
    }
  }
  if (changes.length === 0 && !options.json) print("No changes: the installation is up to date.");
  if (options.dryRun) return;
  if (changes.length > 0) await apply(context, options);
  // On emulators it costs nothing, and shows that all of it works.
  if (options.smoke ?? (target.name === "emulators" && changes.length > 0)) await smoke(context, options);
}

async function apply(context: Context, options: Deploy): Promise<void> {
  const { settings, state, target } = context;
  if (!await agreed(options.yes, "Apply these changes?")) throw new CliError("Nothing was changed.");

  state.settings = savedSettings(settings);
  await saveState(state);
  await explainInterrupt(
    target,
    () =>
      applySteps(steps, context, (step) => printNote(`${step.title} …`), (step, seconds) => {
        printNote(`${step.title}: done (${seconds.toFixed(1)} s)`);
      }),
  );
  if (options.json) return;
  print(stdoutColors.bold("Checks"));
  if (!await doctorOf(context, { json: false, billDays: null, problemsOnly: true })) {
    throw new CliError(
      `Everything is deployed, but checks failed. Follow the lines above, then run \`${
        commandLine("doctor")
      }\`.`,
    );
  }
  print(`\nTunebase is deployed: ${target.projectUrl(state.project ?? "")}/functions/v1/tunebase`);
  if (target.name === "emulators") {
    print("The emulated accounts run only while a command does. For a stack that keeps running: task dev.");
  } else if (settings.ownerEmail !== null) {
    print(`The API key of ${settings.ownerEmail} is in ${credentialsFile(settings.profile)}. To use it:`);
    print(`  export $(cat "${credentialsFile(settings.profile)}")`);
  }
}

/** Ends on Ctrl-C with a line that says how to continue. */
async function explainInterrupt(target: Target, work: () => Promise<void>): Promise<void> {
  let isInterrupted = false;
  const interrupted = () => {
    isInterrupted = true;
    printNote("\nInterrupted. Run the command again: it continues where it stopped.");
    // Emulators stop first, and end the process themselves.
    if (target.name === "hosted") process.exit(exitCodes.interrupted);
  };
  process.once("SIGINT", interrupted);
  try {
    await work();
  } catch (error) {
    if (isInterrupted) throw new CliError("", exitCodes.interrupted); // because the emulators are gone
    throw error;
  } finally {
    process.off("SIGINT", interrupted);
  }
}

/** Fine-tunes the first model on 20 rows and calls it, with the profile's own API key. */
async function smoke({ settings, log }: Context, options: Deploy): Promise<void> {
  const credentials = await readApiKey(settings.profile);
  if (credentials === null) {
    throw new DeployError(
      `The smoke job needs an API key, and ${credentialsFile(settings.profile)} has none.`,
      "Set --owner to create one.",
    );
  }
  const [model] = await chosenModels(settings.models);
  if (model === undefined) return;
  const result = await smokeTest({
    ...credentials,
    model: model.name,
    log,
    agree: async (usd) => {
      const price = usd === null ? "its cost is not known" : `it costs up to $${usd.toFixed(2)}`;
      printNote(`smoke job: fine-tunes ${model.name} on 20 rows; ${price}`);
      return await agreed(options.yes, "Run it?");
    },
  });
  if (result === null) return printNote("The smoke job was not run.");
  if (options.json) return printJson({ smoke: result });
  print(`\n${result.model} was trained in ${Math.round(result.trainSeconds)} s. Called by name:`);
  print(`  ${result.question}`);
  print(`  ${result.answer}`);
  print("So few rows teach the form of the answer; the code itself need not be correct.");
}

async function destroy(
  options: Destroy,
  target: Target,
  credentials: Credentials,
  state: State,
): Promise<void> {
  const settings = { ...deployedSettings(state), profile: options.profile, registry: null, hubToken: null };
  const context = createContext(target, credentials, state, settings);
  const data = options.deleteData ?? false;
  const isThere = await projectExists(context);
  if (isThere) await rejectOtherProfile(context.supabase, options.profile);
  else if (!options.force) {
    throw new DeployError(
      `Supabase has no project ${state.project} for this account.`,
      "Check SUPABASE_ACCESS_TOKEN. If the project was deleted, add --force to remove the rest from RunPod.",
    );
  }
  const present = isThere ? steps : steps.filter(({ id }) => id.startsWith("runpod-"));
  const planned = await planRemovals(present, context, { data });
  if (options.json) {
    printJson({
      profile: options.profile,
      changes: planned.flatMap(({ step, changes }) =>
        changes.map((change) => ({ step: step.id, ...change }))
      ),
    });
  } else if (planned.length === 0) {
    print("Nothing to remove.");
  } else {
    printPlan(planned);
    print(
      !isThere
        ? `\nSupabase has no project ${state.project} for this account: only the RunPod account is changed.`
        : data
        ? `\nThe Supabase project ${state.project} stays. Everything of Tunebase in it is deleted, and cannot be recovered.`
        : `\nThe data stays: schemas, files and adapters in project ${state.project}, and the network volume. ` +
          "Add --delete-data to delete them.",
    );
  }
  if (options.dryRun) return;
  if (isThere && !options.force) await rejectRunningJobs(context);
  if (planned.length > 0) {
    if (!await agreed(options.yes, "Remove all of this?")) throw new CliError("Nothing was removed.");
    await explainInterrupt(target, () =>
      removeSteps(present, context, { data }, (step, seconds) => {
        printNote(`${step.title}: removed (${seconds.toFixed(1)} s)`);
      }));
  }
  if (!data) return;
  await deleteState(options.profile);
  await rm(credentialsFile(options.profile), { force: true });
}

/** Whether the project still exists, for this account. */
async function projectExists({ supabase }: Context): Promise<boolean> {
  try {
    await supabase.project();
    return true;
  } catch (error) {
    if (error instanceof PlatformError && error.status === 404) return false;
    throw error;
  }
}

async function rejectRunningJobs({ supabase }: Context): Promise<void> {
  if (!await hasRelation(supabase, "tunebase.jobs")) return;
  const [row] = await supabase.query(
    "select count(*)::int as running from tunebase.jobs where not tunebase_internal.is_terminal(status)",
    z.array(z.object({ running: z.int() })),
  );
  const running = row?.running ?? 0;
  if (running === 0) return;
  throw new DeployError(
    `${running} ${running === 1 ? "job is" : "jobs are"} running or queued.`,
    "Cancel them or let them finish, or add --force.",
  );
}

function printPlan(planned: PlannedStep[]): void {
  const marks = {
    create: stdoutColors.green("create"),
    update: stdoutColors.yellow("update"),
    delete: stdoutColors.red("delete"),
  };
  for (const { step, changes } of planned) {
    if (changes.length === 0) continue;
    print(stdoutColors.bold(step.title));
    for (const { action, what, why } of changes) {
      print(`  ${marks[action]}  ${what}${why === undefined ? "" : ` (${why})`}`);
    }
  }
}

function printCosts(costs: Costs): void {
  print(`\n${stdoutColors.bold("Cost")}`);
  for (const { what, price } of costs.lines) print(`  ${price}  ${what}`);
}

async function agreed(yes: boolean | undefined, question: string): Promise<boolean> {
  if (yes) return true;
  if (!isInteractive()) {
    throw new CliError("This needs your consent. Add --yes, or run the command in a terminal.");
  }
  return await confirm(question);
}

export function parseProfile(text: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(text)) {
    throw new InvalidArgumentError("It must be up to 32 lowercase letters, digits and hyphens.");
  }
  return text;
}

function parseRef(text: string): string {
  if (!/^[a-z]{20}$/.test(text)) {
    throw new InvalidArgumentError(
      "It must be a project's ref: the 20 lowercase letters in https://supabase.com/dashboard/project/REF.",
    );
  }
  return text;
}

function parseRegion(text: string): string {
  if (!/^(americas|emea|apac|[a-z]{2}-[a-z]+-\d)$/.test(text)) {
    throw new InvalidArgumentError("It must be americas, emea, apac, or a region such as eu-west-1.");
  }
  return text;
}

/** Parses a list without empty items. */
function parseItems(text: string): string[] {
  const items = parseList(text).filter((item) => item !== "");
  if (items.length === 0) throw new InvalidArgumentError("It must have at least one item.");
  return items;
}

function parseImage(text: string): string {
  if (!/^[a-z0-9][a-z0-9._:/-]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/.test(text)) {
    throw new InvalidArgumentError(
      "It must be an image such as ghcr.io/YOU/tunebase-trainer@sha256: and 64 hexadecimal digits.",
    );
  }
  return text;
}

function parseTarget(text: string): "hosted" | "emulators" {
  if (text !== "hosted" && text !== "emulators") {
    throw new InvalidArgumentError("It must be hosted or emulators.");
  }
  return text;
}

function parseUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text)) {
    throw new InvalidArgumentError("It must be a URL such as https://tunebase.example.com.");
  }
  return text;
}
