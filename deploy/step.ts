/** What a step of a deployment is: it reads what exists, says what it would change, and makes the change. */
import type { RunpodApi } from "./platforms/runpod.ts";
import type { SupabaseApi } from "./platforms/supabase.ts";
import type { State } from "./state.ts";
import type { Target } from "./target.ts";

/** What the operator wants, from flags, the environment and answers. */
export interface Settings {
  profile: string;
  /** The ref of an existing project, or a project to create. */
  project: { ref: string } | { name: string; organization: string; region: string };
  /** Ids of `models/*.toml`, in the order of the first deployment. */
  models: string[];
  /** RunPod GPU pools for the trainer, the preferred first; null: each model's suggestion. */
  gpuPools: string[] | null;
  /** RunPod data center of the network volume; null: one that has the GPUs. */
  dataCenter: string | null;
  ownerEmail: string;
  /** Adds `tunebase` to the Data API's exposed schemas. */
  exposeSchema: boolean;
  /** Where the dashboard is hosted; allowed as a redirect after sign-in. null: none. */
  dashboardUrl: string | null;
  trainerImage: string;
  inferenceImage: string;
  /** Credentials for private images; null: the images are public. */
  registry: { username: string; password: string } | null;
  /** For gated models on the Hugging Face hub. */
  hubToken: string | null;
  /** Most workers of the trainer's endpoint. */
  maxWorkers: number;
}

/** What every step gets. Steps write ids to `state`, which is saved after each of them, and never a secret. */
export interface Context {
  settings: Settings;
  target: Target;
  state: State;
  supabase: SupabaseApi;
  runpod: RunpodApi;
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
}

/** A problem that the operator can fix: shown without a stack trace. */
export class DeployError extends Error {
  /** @param fix what to do, as a sentence. */
  constructor(message: string, readonly fix: string) {
    super(message);
  }
}
