/** The Supabase project: an existing one, or one that this deployment creates. */
import { randomBytes } from "node:crypto";
import { DeployError } from "../errors.ts";
import type { Project } from "../platforms/supabase.ts";
import { PlatformError } from "../platforms/request.ts";
import { saveState } from "../state.ts";
import type { Context, Step } from "../step.ts";
import { rejectKeyOutsideVault } from "./supabase_master_key.ts";
import { rejectForeignSecrets, rejectOtherProfile } from "./supabase_secrets.ts";

const pollMs = 5000;
const patienceMs = 15 * 60_000;

export const supabaseProject: Step = {
  id: "supabase-project",
  title: "Supabase project",
  async plan({ runpodKey, settings, state, supabase }) {
    const { project } = settings;
    if (state.project !== null) {
      if ("ref" in project && project.ref !== state.project) {
        throw new DeployError(
          `Profile ${settings.profile} is deployed to project ${state.project}, not to ${project.ref}.`,
          "Choose another --profile for another project.",
        );
      }
      rejectUnusable(await ownProject(supabase, settings.profile, state.project));
      await rejectOtherProfile(supabase, settings.profile);
      return [];
    }
    if ("ref" in project) {
      const { name, region, ...found } = await supabase.project(project.ref);
      rejectUnusable({ name, region, ...found });
      const there = supabase.at(project.ref);
      await rejectOtherProfile(there, settings.profile);
      await rejectKeyOutsideVault(there);
      await rejectForeignSecrets(there, runpodKey);
      return [{
        action: "update",
        what: `Supabase project ${name} (${project.ref}, ${region})`,
        why: "installs Tunebase in it",
      }];
    }
    if (await lost(supabase, settings.project, state.creatingProject) !== undefined) {
      return [{
        action: "update",
        what: `Supabase project ${project.name}`,
        why: "an earlier run was interrupted while it was being created",
      }];
    }
    return [{
      action: "create",
      what: `Supabase project ${project.name} (${project.region}, organization ${project.organization})`,
    }];
  },
  async apply(context) {
    const { settings: { project }, state, supabase } = context;
    if (state.project === null) {
      if ("ref" in project) state.project = project.ref;
      else {
        const found = await lost(supabase, project, state.creatingProject);
        if (found === undefined) {
          state.creatingProject = { name: project.name, since: new Date(Date.now() - 60_000).toISOString() };
          await saveState(state);
        }
        // The password is not needed, because SQL goes through the Management API. The operator can reset it in the dashboard.
        const password = randomBytes(24).toString("base64url");
        state.project = found?.ref ?? (await supabase.createProject({ ...project, password })).ref;
        state.createdProject = true;
        state.creatingProject = null;
      }
      await saveState(state);
    }
    await ready(context);
  },
};

async function ownProject(supabase: Context["supabase"], profile: string, ref: string): Promise<Project> {
  try {
    return await supabase.project();
  } catch (error) {
    if (!(error instanceof PlatformError) || error.status !== 404) throw error;
    throw new DeployError(
      `Supabase has no project ${ref}: it was deleted, or this account has no access to it.`,
      `If it was deleted, remove the rest of the installation with destroy --delete-data --force --profile ${profile}, then deploy again.`,
    );
  }
}

/** The project that an interrupted run created without learning its ref. */
async function lost(
  supabase: Context["supabase"],
  wanted: Context["settings"]["project"],
  creating: Context["state"]["creatingProject"],
): Promise<Project | undefined> {
  if ("ref" in wanted) return undefined;
  const named = (await supabase.projects()).filter(({ name, organization_slug }) =>
    name === wanted.name && organization_slug === wanted.organization
  );
  const found = named.find(({ created_at }) =>
    creating !== null && creating.name === wanted.name && new Date(created_at) >= new Date(creating.since)
  );
  if (found === undefined && named[0] !== undefined) {
    throw new DeployError(
      `The organization already has a project named ${wanted.name} (${named[0].ref}).`,
      `Install Tunebase in it with --project ${named[0].ref}, or choose another name with --project-name.`,
    );
  }
  return found;
}

/** Waits until the services are healthy. */
async function ready({ supabase, log }: Context): Promise<void> {
  const until = Date.now() + patienceMs;
  for (let wait = 500;; wait = Math.min(pollMs, wait * 2)) {
    const { status } = await supabase.project();
    const unhealthy = status === "ACTIVE_HEALTHY" ? await supabase.unhealthy() : [`project ${words(status)}`];
    if (unhealthy.length === 0) return;
    if (Date.now() > until) {
      throw new DeployError(
        `The project is not ready after 15 minutes: ${unhealthy.join(", ")}.`,
        "Check it in the Supabase dashboard, then run the command again to continue.",
      );
    }
    if (wait >= pollMs) log(`waiting for the project: ${unhealthy.join(", ")}`);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function rejectUnusable({ name, ref, status }: Project): void {
  if (
    ["ACTIVE_HEALTHY", "ACTIVE_UNHEALTHY", "COMING_UP", "UNKNOWN", "RESTARTING", "RESIZING", "RESTORING"]
      .includes(status)
  ) return;
  throw new DeployError(
    `Project ${name} (${ref}) is ${words(status)}.`,
    "Restore it in the Supabase dashboard, or choose another project.",
  );
}

const words = (status: string) => status.toLowerCase().replaceAll("_", " ");
