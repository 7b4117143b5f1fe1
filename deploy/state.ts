/**
 * Records what a deployment created in `.tunebase/deploy/PROFILE.json`: ids, versions and fingerprints, never a secret. Code
 * in this folder runs on Deno and, in the published CLI, on Node, so it accesses files with Node's library.
 */
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import process from "node:process";
import * as z from "zod";
import { DeployError } from "./errors.ts";

const Id = z.string().min(1).nullable().default(null);

/** The settings of the last deployment, so that a later one needs no flags. */
export const SavedSettings = z.strictObject({
  /** The ref of an existing project, or a project to create. */
  project: z.union([
    z.strictObject({ ref: z.string() }),
    z.strictObject({ name: z.string(), organization: z.string(), region: z.string() }),
  ]),
  /** Ids of `models/*.toml`. */
  models: z.array(z.string()).min(1),
  /** RunPod GPU pools for the trainer, in order of preference; null: based on the models. */
  gpuPools: z.array(z.string()).min(1).nullable(),
  /** RunPod data center of the network volume; null: one that has the GPUs. */
  dataCenter: z.string().nullable(),
  /** The first owner's email address; null: no owner and no key are created. */
  ownerEmail: z.string().nullable(),
  /** Whether the Data API exposes the schema `tunebase`; null: keep the project's setting. */
  exposeSchema: z.boolean().nullable(),
  /** Where the dashboard is hosted; allowed as a redirect after sign-in. null: none. */
  dashboardUrl: z.string().nullable(),
  trainerImage: z.string(),
  inferenceImage: z.string(),
  /** The maximum number of workers of the trainer's endpoint. */
  maxWorkers: z.int().min(1),
});
export type SavedSettings = z.infer<typeof SavedSettings>;

export const State = z.strictObject({
  version: z.literal(1),
  profile: z.string(),
  target: z.enum(["hosted", "emulators"]),
  /** The Supabase project's ref. */
  project: Id,
  /** Whether this deployment created the project. */
  createdProject: z.boolean().default(false),
  /** A project that is being created. After a crash that lost its ref, a later run recognizes it by this. */
  creatingProject: z.strictObject({ name: z.string(), since: z.iso.datetime() }).nullable().default(null),
  /** RunPod ids. */
  volume: Id,
  dataCenter: Id,
  registry: Id,
  trainerEndpoint: Id,
  /** Inference endpoints by the catalog's model id. */
  inferenceEndpoints: z.record(z.string(), z.string()).default({}),
  /** The pinned revision of each base model, by the catalog's model id. */
  revisions: z.record(z.string(), z.string()).default({}),
  settings: SavedSettings.nullable().default(null),
  /** Whether the project's plan rejects larger files in Storage. */
  fileSizeLimitRefused: z.boolean().default(false),
  /** The version of Tunebase that was deployed last. */
  deployedVersion: Id,
  /** By slug: the SHA-256 of the function's files, and the version number that the platform assigned. */
  functions: z.record(z.string(), z.strictObject({ sha256: z.string(), version: z.int() })).default({}),
});
export type State = z.infer<typeof State>;

/** The folder of profiles: `deploy` in TUNEBASE_HOME, or in `.tunebase` of the current folder. */
export const profilesFolder = (): string => resolve(process.env.TUNEBASE_HOME || ".tunebase", "deploy");

/** The state file of a profile. */
export const stateFile = (profile: string): string => resolve(profilesFolder(), `${profile}.json`);

/** Profiles that have a state file. */
export async function listProfiles(): Promise<string[]> {
  const files = await readdir(profilesFolder()).catch(() => []);
  return files.filter((file) => file.endsWith(".json")).map((file) => file.slice(0, -".json".length)).sort();
}

/** The saved state, or an empty one. Throws a DeployError that names the file if it cannot be used. */
export async function loadState(profile: string, target: State["target"]): Promise<State> {
  const text = await readIfThere(stateFile(profile));
  if (text === null) return State.parse({ version: 1, profile, target });
  const data = json(text);
  const found = State.safeParse(data);
  if (!found.success) {
    throw new DeployError(
      `${stateFile(profile)} is damaged: ${data === null ? "not JSON" : z.prettifyError(found.error)}`,
      "Restore it from a backup, or delete it and deploy with --project REF to adopt the installation.",
    );
  }
  if (found.data.target !== target) {
    throw new DeployError(
      found.data.target === "emulators"
        ? `Profile ${profile} is deployed to emulators, not to Supabase and RunPod.`
        : `Profile ${profile} is deployed to Supabase and RunPod, not to emulators.`,
      found.data.target === "emulators"
        ? "Add --target emulators, or choose another --profile."
        : "Omit --target, or choose another --profile.",
    );
  }
  return found.data;
}

/** Replaces the file atomically. */
export async function saveState(state: State): Promise<void> {
  await writePrivate(stateFile(state.profile), `${JSON.stringify(state, null, 2)}\n`);
}

/** Removes the file. */
export const deleteState = (profile: string): Promise<void> => rm(stateFile(profile), { force: true });

/**
 * Locks the profile, because two concurrent runs would create the same resources and overwrite each other's ids in the
 * state. Returns a function that releases the lock. Ignores locks whose process has ended.
 */
export async function lockProfile(profile: string): Promise<() => Promise<void>> {
  const file = resolve(profilesFolder(), `${profile}.lock`);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  for (let attempt = 0;; attempt++) {
    try {
      await writeFile(file, `${process.pid}\n`, { flag: "wx", mode: 0o600 });
      return () => rm(file, { force: true });
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
    const pid = Number(await readIfThere(file) ?? 0);
    if (attempt > 0 || isRunning(pid)) {
      throw new DeployError(
        `Another run is working on profile ${profile} (process ${pid}).`,
        `Wait until it has ended. If there is none, delete ${file}.`,
      );
    }
    await rm(file, { force: true });
  }
}

function isRunning(pid: number): boolean {
  // In a container, an earlier run may have had the same process id.
  if (pid === 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, "EPERM"); // another user's process
  }
}

const hasCode = (error: unknown, code: string) =>
  error instanceof Error && "code" in error && error.code === code;

/** Writes a file atomically, readable only by its owner, in a folder that only the owner can access. */
export async function writePrivate(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await chmod(`${path}.new`, 0o600); // an earlier crash may have left the file with other permissions
  await rename(`${path}.new`, path);
}

/** A file's text; null if there is none. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return null;
    throw error;
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
