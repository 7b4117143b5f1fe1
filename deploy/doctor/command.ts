/** `task doctor` and `tunebase doctor --profile`: the command line of {@link doctor}. */
import process from "node:process";
import { addCommand, type Command, parseInteger } from "../../cli/command.ts";
import { CliError, exitCodes } from "../../cli/errors.ts";
import { DeployError } from "../errors.ts";
import {
  type CommonDeployOptions,
  createContext,
  deployedSettings,
  type StartEmulators,
  withInstallation,
} from "../installation.ts";
import { addInstallationOptions } from "../options.ts";
import { commandLine } from "../sources.ts";
import type { State } from "../state.ts";
import { doctorOf } from "./doctor.ts";

export interface DiagnoseOptions extends CommonDeployOptions {
  bills?: boolean;
  days?: number;
}

/** Adds `doctor`. */
export function addDoctor(program: Command, startEmulators?: StartEmulators): void {
  const command = addCommand(
    program,
    "doctor",
    "Diagnose an installation on Supabase and RunPod; changes nothing",
    "print the checks, or the bills, as JSON on stdout",
  );
  addBillOptions(addInstallationOptions(command, startEmulators))
    .action((options: DiagnoseOptions) => diagnose(options, startEmulators));
}

/** Adds `--bills` and `--days`. */
export function addBillOptions(command: Command): Command {
  return command
    .option("--bills", "print RunPod's bill per endpoint and day next to the cost that Tunebase counted")
    .option("--days <n>", "with --bills: how many days, including today (default: 7)", parseInteger(1));
}

/** Checks an installation and prints the results. Sets the process's exit code. */
export async function diagnose(options: DiagnoseOptions, startEmulators?: StartEmulators): Promise<void> {
  if (options.days !== undefined && !options.bills) {
    throw new CliError("--days requires --bills.", exitCodes.usage);
  }
  await withInstallation(options, startEmulators, async (target, credentials, state) => {
    requireInstalled(state);
    const settings = { ...deployedSettings(state), profile: options.profile, registry: null, hubToken: null };
    const context = createContext(target, credentials, state, settings);
    const works = await doctorOf(context, {
      json: options.json ?? false,
      billDays: options.bills ? options.days ?? 7 : null,
    });
    if (!works) process.exitCode = exitCodes.failed;
  }, { mustExist: true, changes: false });
}

/** Throws if `destroy` removed the installation: without --delete-data, it keeps the state and the data. */
function requireInstalled({ deployedVersion, functions, profile, project, trainerEndpoint }: State): void {
  if (deployedVersion === null || trainerEndpoint !== null || Object.keys(functions).length > 0) return;
  throw new DeployError(
    `Profile ${profile} was removed. Its data is still in Supabase project ${project}.`,
    `To install it again, run ${commandLine("deploy")}. To delete the data, run ${
      commandLine("destroy")
    } --delete-data.`,
  );
}
