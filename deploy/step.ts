/** A step of a deployment: it reads what exists, plans changes, and applies them. */
import type { RunpodApi } from "./platforms/runpod.ts";
import type { SupabaseApi } from "./platforms/supabase.ts";
import type { SavedSettings, State } from "./state.ts";
import type { Target } from "./target.ts";

/** The operator's settings, from flags, the environment, answers and the last deployment. */
export interface Settings extends SavedSettings {
  profile: string;
  /** Credentials for private images; null: the images are public, or RunPod already has the credentials. */
  registry: { username: string; password: string } | null;
  /** For gated models on the Hugging Face hub; null: RunPod keeps its current one. */
  hubToken: string | null;
}

/** The context of every step. Steps write ids to `state`, never secrets; it is saved after each step. */
export interface Context {
  settings: Settings;
  target: Target;
  state: State;
  supabase: SupabaseApi;
  runpod: RunpodApi;
  /** The functions' RUNPOD_API_KEY. */
  runpodKey: string;
  /** The installation's master key from the project's Vault. Throws if there is none yet. */
  masterKey(): Promise<string>;
  /** Prints a line for the operator; never a secret. */
  log(line: string): void;
}

/** One change that a step would make. */
export interface Change {
  action: "create" | "update" | "delete";
  /** Such as `network volume tunebase-models (100 GB, EU-RO-1)`. */
  what: string;
  /** For an update: what differs, such as `image: … → …`. */
  why?: string;
}

export interface Step {
  /** Names the step in output, tests and `--json`: `runpod-volume`. */
  id: string;
  title: string;
  /** Read-only. Returns no changes if everything matches the settings. Throws a DeployError if that cannot be achieved. */
  plan(context: Context): Promise<Change[]>;
  /** Makes the changes. Idempotent, so running it again recovers from a crash at any point. */
  apply(context: Context): Promise<void>;
  /** What `destroy` would delete. Absent if it is deleted together with another step's resources. */
  planRemoval?(context: Context, options: { data: boolean }): Promise<Change[]>;
  remove?(context: Context, options: { data: boolean }): Promise<void>;
  /** Removed before all other steps, because it uses what they remove. */
  removedFirst?: true;
}
