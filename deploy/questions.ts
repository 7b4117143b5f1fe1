/** Collects a deployment's settings from flags, the environment, the last deployment, and at most six questions. */
import process from "node:process";
import { ask, isInteractive } from "../cli/terminal/prompt.ts";
import { printNote } from "../cli/terminal/output.ts";
import { version } from "../cli/version.ts";
import { loadCatalog } from "./catalog.ts";
import { DeployError } from "./errors.ts";
import images from "./images.json" with { type: "json" };
import { SupabaseApi } from "./platforms/supabase.ts";
import type { SavedSettings, State } from "./state.ts";
import type { Settings } from "./step.ts";
import type { Target } from "./target.ts";

/** The options of `deploy` from the command line. */
export interface DeployOptions {
  profile: string;
  project?: string;
  projectName?: string;
  organization?: string;
  region?: string;
  models?: string[];
  gpu?: string[];
  dataCenter?: string;
  owner?: string | false;
  exposeSchema?: boolean;
  dashboardUrl?: string;
  trainerImage?: string;
  inferenceImage?: string;
  registryUsername?: string;
  maxWorkers?: number;
}

export interface Credentials {
  supabaseToken: string;
  runpodKey: string;
}

/** The credentials of both accounts, from the environment or from prompts without echo. Never stored. */
export async function readCredentials(): Promise<Credentials> {
  const missing = ["SUPABASE_ACCESS_TOKEN", "RUNPOD_API_KEY"].filter((name) => !process.env[name]);
  if (missing.length > 0 && !isInteractive()) {
    throw new DeployError(
      `${missing.join(" and ")} ${missing.length === 1 ? "is" : "are"} not set.`,
      "Create a Supabase access token at https://supabase.com/dashboard/account/tokens and a RunPod API key at " +
        "https://console.runpod.io/user/settings, and set both as environment variables.",
    );
  }
  return {
    supabaseToken: await token(
      "SUPABASE_ACCESS_TOKEN",
      "Supabase access token (https://supabase.com/dashboard/account/tokens): ",
    ),
    runpodKey: await token("RUNPOD_API_KEY", "RunPod API key (https://console.runpod.io/user/settings): "),
  };
}

/** The settings of this deployment. Without a terminal, throws a DeployError that names a missing flag. */
export async function readSettings(
  options: DeployOptions,
  state: State,
  target: Target,
  { supabaseToken }: Credentials,
): Promise<Settings> {
  const saved = state.settings;
  const catalog = await loadCatalog();
  const project = await readProject(options, state, target, supabaseToken);
  const ownerEmail = options.owner === false ? null : options.owner ?? saved?.ownerEmail ??
    (saved === null
      ? await question(
        target,
        "--owner EMAIL",
        "Your email address, for the first API key: ",
        "dev@example.com",
      )
      : null);
  if (ownerEmail !== null && !/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(ownerEmail)) {
    throw new DeployError(`${ownerEmail} is not an email address.`, "Set --owner, or --no-owner for none.");
  }
  const known = catalog.map(({ id }) => id);
  const models = options.models ?? saved?.models ??
    (await question(
      target,
      "--models ID,…",
      `Models to offer (${known.join(", ")}): `,
      "smollm2-135m",
    )).split(",").map((id) => id.trim()).filter((id) => id !== "");
  const unknown = models.find((id) => !known.includes(id));
  if (unknown !== undefined || models.length === 0) {
    throw new DeployError(
      unknown === undefined ? "No model is chosen." : `The catalog has no model ${unknown}.`,
      `Choose from: ${known.join(", ")}. To add one, see docs/models.md, "Add a model".`,
    );
  }
  const registry = options.registryUsername === undefined ? null : {
    username: options.registryUsername,
    password: await secret("TUNEBASE_REGISTRY_PASSWORD", "Password or token of the image registry: "),
  };
  return {
    profile: options.profile,
    project,
    models,
    gpuPools: options.gpu ?? saved?.gpuPools ?? null,
    dataCenter: options.dataCenter ?? saved?.dataCenter ?? null,
    ownerEmail,
    exposeSchema: options.exposeSchema ?? saved?.exposeSchema ?? null,
    dashboardUrl: options.dashboardUrl?.replace(/\/+$/, "") ?? saved?.dashboardUrl ?? null,
    trainerImage: options.trainerImage ?? image(images.trainer, target, saved?.trainerImage, "trainer"),
    inferenceImage: options.inferenceImage ??
      image(images.inference, target, saved?.inferenceImage, "inference"),
    maxWorkers: options.maxWorkers ?? saved?.maxWorkers ?? 3,
    registry,
    hubToken: process.env.HF_TOKEN?.trim() ? headerSafe(process.env.HF_TOKEN.trim(), "HF_TOKEN") : null,
  };
}

/** The settings that a later deployment reuses. */
export function savedSettings(
  { profile: _, registry: __, hubToken: ___, ...saved }: Settings,
): SavedSettings {
  return saved;
}

async function readProject(
  options: DeployOptions,
  { profile, project: ref, settings }: State,
  target: Target,
  token: string,
): Promise<SavedSettings["project"]> {
  if (options.project !== undefined) {
    if ((options.projectName ?? options.organization ?? options.region) === undefined) {
      return { ref: options.project };
    }
    throw new DeployError(
      "--project names an existing project; --project-name, --organization and --region create one.",
      "Set --project, or the others.",
    );
  }
  const saved = settings?.project;
  const before = saved !== undefined && "name" in saved ? saved : undefined;
  const changed = [
    options.projectName !== undefined && options.projectName !== before?.name && "--project-name",
    options.organization !== undefined && options.organization !== before?.organization && "--organization",
    options.region !== undefined && options.region !== before?.region && "--region",
  ].filter((flag) => flag !== false);
  if (saved !== undefined && changed.length === 0) return saved;
  if (ref !== null) {
    throw new DeployError(
      `Profile ${profile} is deployed to project ${ref}: ${changed.join(", ")} cannot change it.`,
      "Omit the flag, or choose another --profile for another project.",
    );
  }
  // The project was not created, possibly because of one of these settings.
  let name = options.projectName ?? before?.name;
  if (name === undefined) {
    const answer = await question(
      target,
      "--project REF or --project-name NAME",
      "Supabase project: the ref of an existing one, or Enter for a new one named tunebase: ",
      "tunebase",
    );
    if (/^[a-z]{20}$/.test(answer)) return { ref: answer };
    name = answer || "tunebase";
  }
  return {
    name,
    organization: options.organization === undefined && before !== undefined
      ? before.organization
      : await organization(options.organization, target, token),
    region: options.region ?? before?.region ?? nearestRegion(),
  };
}

/** The chosen organization, or the account's only one. */
async function organization(chosen: string | undefined, target: Target, token: string): Promise<string> {
  const organizations = await new SupabaseApi(target.supabaseApi, token, () => null).organizations();
  const list = organizations.map(({ slug, name }) => `${slug} (${name})`).join(", ");
  if (chosen !== undefined) {
    if (organizations.some(({ slug }) => slug === chosen)) return chosen;
    throw new DeployError(
      `The Supabase account has no organization ${chosen}.`,
      `Choose one with --organization: ${list || "the account has none"}.`,
    );
  }
  const [first, ...others] = organizations;
  if (first === undefined) {
    throw new DeployError(
      "The Supabase account has no organization.",
      "Create one at https://supabase.com/dashboard/new.",
    );
  }
  if (others.length > 0) {
    throw new DeployError(
      "The Supabase account has several organizations.",
      `Choose one with --organization: ${list}.`,
    );
  }
  return first.slug;
}

/** The group of regions that this machine's time zone suggests. */
function nearestRegion(): string {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (/^(Asia|Australia|Pacific)\//.test(zone)) return "apac";
  return /^America\//.test(zone) ? "americas" : "emea";
}

function image(
  published: string | null,
  target: Target,
  saved: string | undefined,
  name: "trainer" | "inference",
): string {
  if (published !== null) return published;
  if (target.name === "emulators") return `tunebase-${name}:${version}`; // no image is pulled
  if (saved !== undefined) return saved;
  throw new DeployError(
    `This version has no published ${name} image.`,
    `Build it (docs/deploy.md, "Build the images") and set --${name}-image ghcr.io/YOU/tunebase-${name}@sha256:….`,
  );
}

/** Asks a question. On emulators, where nothing costs money, returns `emulated` instead. */
async function question(target: Target, flag: string, text: string, emulated: string): Promise<string> {
  if (target.name === "emulators") return emulated;
  if (!isInteractive()) {
    throw new DeployError(`${flag} is missing.`, `Set ${flag}, or run the command in a terminal.`);
  }
  return await ask(text);
}

async function secret(variable: string, text: string): Promise<string> {
  const value = process.env[variable]?.trim();
  if (value) return value;
  if (!isInteractive()) {
    throw new DeployError(`${variable} is not set.`, `Set the environment variable ${variable}.`);
  }
  const answer = await ask(text, true);
  if (answer === "") throw new DeployError(`${variable} is empty.`, `Enter it, or set ${variable}.`);
  printNote("");
  return answer.trim();
}

const token = async (variable: string, text: string) => headerSafe(await secret(variable, text), variable);

/** Checked here, because the runtime's error about an invalid header would quote the credential. */
function headerSafe(value: string, variable: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw new DeployError(
    `${variable} contains a space, a line break or another character that tokens never have.`,
    "Copy the token again, without anything around it.",
  );
}
