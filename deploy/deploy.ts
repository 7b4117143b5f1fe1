/** `deploy`: plans, shows the cost, asks for consent, applies the plan, and checks the result. */
import { CliError } from "../cli/errors.ts";
import { print, printJson, printNote } from "../cli/terminal/output.ts";
import { chosenModels } from "./catalog.ts";
import { type Costs, planCosts } from "./costs.ts";
import type { Check } from "./doctor/check.ts";
import { checkDeployment, isWorking, printCheck, summary } from "./doctor/doctor.ts";
import { DeployError } from "./errors.ts";
import { type CommonDeployOptions, createContext, explainInterrupt } from "./installation.ts";
import { applySteps, planSteps } from "./plan.ts";
import { agreed, changesOf, printCosts, printPlan } from "./plan_view.ts";
import { type Credentials, type DeployOptions as Answers, readSettings, savedSettings } from "./questions.ts";
import { type SmokeResult, smokeTest } from "./smoke.ts";
import { commandLine } from "./sources.ts";
import { saveState, type State } from "./state.ts";
import type { Context } from "./step.ts";
import { steps } from "./steps/mod.ts";
import { credentialsFile, readCredentials as readApiKey } from "./steps/owner.ts";
import type { Target } from "./target.ts";

export interface DeployOptions extends CommonDeployOptions, Omit<Answers, "profile"> {
  dryRun?: boolean;
  yes?: boolean;
  smoke?: boolean;
}

/** The object that `--json` prints. */
interface Report {
  profile: string;
  changes: ReturnType<typeof changesOf>;
  costs: Costs;
  /** Doctor's findings after the changes. */
  checks?: Check[];
  smoke?: SmokeResult;
}

/** Deploys, upgrades or repairs an installation. Throws a CliError or DeployError that says why not. */
export async function deploy(
  options: DeployOptions,
  target: Target,
  credentials: Credentials,
  state: State,
): Promise<void> {
  const settings = await readSettings(options, state, target, credentials);
  const context = createContext(target, credentials, state, settings);
  const planned = await planSteps(steps, context);
  const changes = changesOf(planned);
  const report: Report = { profile: settings.profile, changes, costs: await planCosts(context) };
  if (!options.json) {
    printPlan(planned);
    if (changes.length === 0) print("No changes: the installation is up to date.");
    else {
      printCosts(report.costs);
      if (target.name === "emulators") print("  Nothing is billed: the accounts are emulated.");
    }
  }
  try {
    if (options.dryRun) return;
    if (changes.length > 0) await apply(context, options, report);
    // On emulators, it is free and shows that everything works.
    if (options.smoke ?? (target.name === "emulators" && changes.length > 0)) {
      await smoke(context, options, report);
    }
  } finally {
    if (options.json) printJson(report);
  }
}

async function apply(context: Context, options: DeployOptions, report: Report): Promise<void> {
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
  printNote("Checks …");
  report.checks = await checkDeployment(context, (check) => {
    if (check.status !== "ok" && !options.json) printCheck(check);
  });
  printNote(`Checks: done (${summary(report.checks)})`);
  if (!isWorking(report.checks)) {
    throw new CliError(
      `Everything is deployed, but checks failed. Fix the problems above, then run \`${
        commandLine("doctor")
      }\`.`,
    );
  }
  if (options.json) return;
  print(`\nTunebase is deployed: ${target.projectUrl(state.project ?? "")}/functions/v1/tunebase`);
  if (target.name === "emulators") {
    print(
      "The emulated accounts run only while a command runs. For a stack that keeps running, use task dev.",
    );
  } else if (settings.ownerEmail !== null) {
    print(`The API key of ${settings.ownerEmail} is in ${credentialsFile(settings.profile)}. To use it:`);
    print(`  export $(cat "${credentialsFile(settings.profile)}")`);
  }
}

/** Fine-tunes the first model on ten rows and calls it, with the profile's own API key. */
async function smoke(
  { settings, log }: Context,
  options: DeployOptions,
  report: Report,
): Promise<void> {
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
      const price = usd === null ? "its cost is unknown" : `it costs up to $${usd.toFixed(2)}`;
      printNote(`smoke job: fine-tunes ${model.name} on ten rows; ${price}`);
      return await agreed(options.yes, "Run it?");
    },
  });
  if (result === null) return printNote("The smoke job was not run.");
  report.smoke = result;
  if (options.json) return;
  print(`\n${result.model} was trained in ${Math.round(result.trainSeconds)} s. Called by name:`);
  print(`  ${result.question}`);
  print(`  ${result.answer}`);
  print("So few rows teach only the form of the answer; the code may be wrong.");
}
