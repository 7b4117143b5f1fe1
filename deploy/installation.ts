/** An installation for commands: its profile, its accounts, and the context of steps and checks. */
import process from "node:process";
import { CliError, exitCodes } from "../cli/errors.ts";
import { printNote } from "../cli/terminal/output.ts";
import { DeployError } from "./errors.ts";
import { PlatformError, suggestFix } from "./platforms/request.ts";
import { RunpodApi } from "./platforms/runpod.ts";
import { SupabaseApi } from "./platforms/supabase.ts";
import { type Credentials, readCredentials } from "./questions.ts";
import { commandLine } from "./sources.ts";
import { listProfiles, loadState, lockProfile, type SavedSettings, type State, stateFile } from "./state.ts";
import type { Context, Settings } from "./step.ts";
import { masterKey } from "./steps/supabase_master_key.ts";
import { hosted, type Target } from "./target.ts";

/** Emulators of both platforms: their addresses, and the credentials that they accept. */
export interface EmulatedPlatforms extends Credentials {
  target: Target;
  stop(): Promise<void>;
}

/** Starts the emulators. Absent in the published CLI, which does not include them. */
export type StartEmulators = (profile: string) => Promise<EmulatedPlatforms>;

export interface CommonDeployOptions {
  profile: string;
  target: "hosted" | "emulators";
  json?: boolean;
}

interface InstallationAccess {
  /** The command requires an existing installation. */
  mustExist: boolean;
  /** The command changes the installation, so only one can run at a time. */
  changes: boolean;
}

/** Runs a command for a profile: reads credentials and state, starts emulators if they are the target, and explains failures. */
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
    // Report a wrong profile before asking for credentials.
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

/** The context of steps and checks. */
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

/** Ends on Ctrl-C with a line that says how to continue. */
export async function explainInterrupt(target: Target, work: () => Promise<void>): Promise<void> {
  let isInterrupted = false;
  const interrupted = () => {
    isInterrupted = true;
    printNote("\nInterrupted. Run the command again to continue.");
    // The emulators stop first and then end the process.
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
