/** `task doctor` and `tunebase doctor --profile`: the command line of {@link doctor}. */
import process from "node:process";
import { addCommand, type Command, parseInteger } from "../../cli/command.ts";
import { exitCodes } from "../../cli/errors.ts";
import {
  type CommonDeployOptions,
  createContext,
  deployedSettings,
  type StartEmulators,
  withInstallation,
} from "../installation.ts";
import { addInstallationOptions } from "../options.ts";
import { doctorOf } from "./doctor.ts";

export interface DiagnoseOptions extends CommonDeployOptions {
  bills?: boolean;
  days: number;
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
    .option("--days <n>", "with --bills: how many days, today included", parseInteger(1), 7);
}

/** Checks an installation and prints what was found. Sets the process's exit code. */
export async function diagnose(options: DiagnoseOptions, startEmulators?: StartEmulators): Promise<void> {
  await withInstallation(options, startEmulators, async (target, credentials, state) => {
    const settings = { ...deployedSettings(state), profile: options.profile, registry: null, hubToken: null };
    const context = createContext(target, credentials, state, settings);
    const works = await doctorOf(context, {
      json: options.json ?? false,
      billDays: options.bills ? options.days : null,
    });
    if (!works) process.exitCode = exitCodes.failed;
  }, { mustExist: true, changes: false });
}
