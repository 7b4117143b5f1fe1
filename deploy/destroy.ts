/** `destroy`: lists what it will remove, asks for consent, and removes it. */
import { rm } from "node:fs/promises";
import * as z from "zod";
import { CliError } from "../cli/errors.ts";
import { print, printJson, printNote } from "../cli/terminal/output.ts";
import { hasRelation } from "./database.ts";
import { DeployError } from "./errors.ts";
import {
  type CommonDeployOptions,
  createContext,
  deployedSettings,
  explainInterrupt,
} from "./installation.ts";
import { planRemovals, removeSteps } from "./plan.ts";
import { agreed, changesOf, printPlan } from "./plan_view.ts";
import { PlatformError } from "./platforms/request.ts";
import type { Credentials } from "./questions.ts";
import { deleteState, type State } from "./state.ts";
import type { Context } from "./step.ts";
import { steps } from "./steps/mod.ts";
import { credentialsFile } from "./steps/owner.ts";
import { rejectOtherProfile } from "./steps/supabase_secrets.ts";
import type { Target } from "./target.ts";

export interface DestroyOptions extends CommonDeployOptions {
  deleteData?: boolean;
  dryRun?: boolean;
  force?: boolean;
  yes?: boolean;
}

/** Removes an installation. Throws a CliError or DeployError that says why not. */
export async function destroy(
  options: DestroyOptions,
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
      changes: changesOf(planned),
    });
  } else if (planned.length === 0) {
    print("Nothing to remove.");
  } else {
    printPlan(planned);
    print(
      !isThere
        ? `\nSupabase has no project ${state.project} for this account. Only the RunPod account is changed.`
        : data
        ? `\nThe Supabase project ${state.project} is kept. All of Tunebase's data in it is deleted and cannot be recovered.`
        : `\nThe data is kept: schemas, files and adapters in project ${state.project}, and the network volume. ` +
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
    "Cancel them, wait until they finish, or add --force.",
  );
}
