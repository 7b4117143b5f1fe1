/** What a deployment created, in `.tunebase/deploy/PROFILE.json`: ids and versions, never a secret. */
import * as z from "zod";
import { homeDirectory } from "../local/state_dir.ts";
import { join, writePrivate } from "../local/paths.ts";

const Id = z.string().min(1).nullable().default(null);

export const State = z.strictObject({
  version: z.literal(1),
  profile: z.string(),
  target: z.enum(["hosted", "emulators"]),
  /** The Supabase project's ref. */
  project: Id,
  /** Whether this deployment created the project; `destroy` never deletes one that it did not create. */
  createdProject: z.boolean().default(false),
  /** RunPod ids. */
  volume: Id,
  dataCenter: Id,
  registry: Id,
  trainerEndpoint: Id,
  /** Inference endpoints by the catalog's model id. */
  inferenceEndpoints: z.record(z.string(), z.string()).default({}),
  /** The version of Tunebase that was deployed last. */
  deployedVersion: Id,
  /** SHA-256 of each function's files, by slug. */
  functions: z.record(z.string(), z.string()).default({}),
});
export type State = z.infer<typeof State>;

/** The state file of a profile. */
export const stateFile = (profile: string): string => join(homeDirectory(), `deploy/${profile}.json`);

/** The saved state, or an empty one. Throws an Error that names the file if it is not readable. */
export async function loadState(profile: string, target: State["target"]): Promise<State> {
  let text: string;
  try {
    text = await Deno.readTextFile(stateFile(profile));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return State.parse({ version: 1, profile, target });
    throw error;
  }
  const found = State.safeParse(JSON.parse(text));
  if (!found.success) throw new Error(`${stateFile(profile)}: ${z.prettifyError(found.error)}`);
  return found.data;
}

/** Replaces the file in one step. */
export async function saveState(state: State): Promise<void> {
  await Deno.mkdir(join(homeDirectory(), "deploy"), { recursive: true, mode: 0o700 });
  await writePrivate(stateFile(state.profile), `${JSON.stringify(state, null, 2)}\n`);
}
