/** The parts of an installation that the checks read. A deployment's `Context` has all of them; tests pass fakes. */
import type * as z from "zod";

export interface Installation {
  state: {
    profile: string;
    target?: "hosted" | "emulators";
    project: string | null;
    volume: string | null;
    trainerEndpoint: string | null;
    /** By the catalog's model id. */
    inferenceEndpoints: Record<string, string>;
    /** By slug: the version number that the platform assigned to Tunebase's deployment. */
    functions: Record<string, { version: number }>;
  };
  settings: { trainerImage: string; inferenceImage: string };
  target: { projectUrl(ref: string): string };
  supabase: SupabaseReader;
  runpod: RunpodReader;
  runpodKey: string;
  masterKey(): Promise<string>;
  /** How long to wait for a tick before its absence is an error; by default 25 s, in which two are due. */
  tickWaitMs?: number;
}

export interface SupabaseReader {
  query<T>(sql: string, schema: z.ZodType<T>, parameters?: readonly unknown[]): Promise<T>;
  /** The services that are not ready, such as `db coming up`. */
  unhealthy(): Promise<string[]>;
  functions(): Promise<{ slug: string; status: string; version: number }[]>;
  /** SHA-256 digests by name. */
  secretDigests(): Promise<Map<string, string>>;
  fileSizeLimit(): Promise<number>;
  pooler(): Promise<{ db_host: string; db_port: number; pool_mode: string }>;
}

export interface RunpodReader {
  listVolumes(): Promise<{ id: string; name: string; size: number; dataCenter: string }[]>;
  listEndpoints(): Promise<
    {
      id: string;
      name: string;
      image?: string | undefined;
      workers: { min: number; max: number };
      networkVolumes: string[];
    }[]
  >;
  getWorkers(id: string): Promise<{ workers: { id: string; status: string; isStale: boolean }[] }>;
  billing(from: Date, to: Date): Promise<{ serverlessId: string; startTime: string; totalAmount: number }[]>;
}

/** This version of Tunebase, which an installation should have. */
export interface Release {
  version: string;
  /** Versions of all migrations, oldest first. */
  migrations: string[];
}

/** The address of the project: Auth, Storage and functions. Throws if the profile has no project. */
export function projectUrl({ state, target }: Installation): string {
  if (state.project === null) throw new Error(`profile ${state.profile} has no Supabase project`);
  return target.projectUrl(state.project);
}
