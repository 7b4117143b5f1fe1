/** What a step of a deployment is: it reads what exists, says what it would change, and makes the change. */
import type { RunpodApi } from "./platforms/runpod.ts";
import type { SupabaseApi } from "./platforms/supabase.ts";
import type { SavedSettings, State } from "./state.ts";
import type { Target } from "./target.ts";

/** What the operator wants, from flags, the environment, answers and the last deployment. */
export interface Settings extends SavedSettings {
  profile: string;
  /** Credentials for private images; null: the images are public, or RunPod has the credentials already. */
  registry: { username: string; password: string } | null;
  /** For gated models on the Hugging Face hub; null: RunPod keeps the one it has. */
  hubToken: string | null;
}

/** What every step gets. Steps write ids to `state`, which is saved after each of them, and never a secret. */
export interface Context {
  settings: Settings;
  target: Target;
  state: State;
  supabase: SupabaseApi;
  runpod: RunpodApi;
  /** The functions' RUNPOD_API_KEY. */
  runpodKey: string;
  /** The installation's master key, from the project's Vault. Throws if there is none yet. */
  masterKey(): Promise<string>;
  /** One line for the operator; never a secret. */
  log(line: string): void;
}

/** One thing that a step would do. */
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
  /** Reads only. No changes: everything is as the settings say. Throws a DeployError when it cannot be made so. */
  plan(context: Context): Promise<Change[]>;
  /** Makes the changes. Idempotent: a crash anywhere in it is repaired by running it again. */
  apply(context: Context): Promise<void>;
  /** What `destroy` would delete; absent where deleting another step's work deletes this one's. */
  planRemoval?(context: Context, options: { data: boolean }): Promise<Change[]>;
  remove?(context: Context, options: { data: boolean }): Promise<void>;
  /** Is removed before all others: it would use what they remove. */
  removedFirst?: true;
}
