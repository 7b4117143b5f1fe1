/** What a function needs of the platform, read once from the environment and handed to its app as one object. */
import { StorageClient } from "@supabase/storage-js";
import { connect, type Database } from "./database/connect.ts";
import { type Log, logError, logToConsole } from "./log.ts";

/** Settings that several functions read. */
export interface Settings {
  /** The project's address, without a slash at its end. */
  supabaseUrl: string;
  masterKey: string;
  /** The public keys of Supabase Auth, when the platform gives them; else they are fetched. */
  jwks: string | null;
  /** HS256 tokens are accepted only where the operator sets the legacy secret. */
  legacyJwtSecret: string | null;
  /** http addresses of this machine are accepted: for development. */
  allowLoopback: boolean;
  runpodUrl: string;
  runpodKey: string;
  runpodEndpoint: string;
  leaseSeconds: number;
  /** How often a worker saves a checkpoint. */
  checkpointSeconds: number;
  /** Looks in a row (15 s apart) after which a run that RunPod shows but nobody hears of is given up. */
  maxMissedHeartbeats: number;
  /** What POST /files takes. */
  maxUploadBytes: number;
  /** What the other ways of uploading take. */
  maxFileBytes: number;
  /** How many bytes of a large file are checked between two times that the place is kept. */
  checkSliceBytes: number;
  /** How long the counting of a file's tokens may take. It is CPU time, of which the platform gives 2 s a request. */
  tokenCountBudgetMs: number;
  /** E-mail goes out over HTTP in Resend's shape; without a key and a sender there is none. */
  resendUrl: string;
  resendKey: string | null;
  emailFrom: string | null;
  /** Jobs may ask for a run of Weights & Biases: the workers have a key (WANDB_API_KEY). */
  wandb: boolean;
  /** Where people look at a job: `{dashboardUrl}/jobs/{id}`; messages link there. */
  dashboardUrl: string | null;
}

/** What is used of Supabase over HTTP: Storage alone. */
export interface Supabase {
  storage: StorageClient;
}

export interface Platform {
  settings: Settings;
  db: Database;
  /** Holds the secret key: only ever used after the caller was authorised. */
  supabase: Supabase;
  /** Lets work go on after the reply. It can be cut off: never the only copy of anything. */
  later: (work: Promise<unknown>) => void;
  /** Writes one entry to the log. */
  log: Log;
}

type Environment = { get(name: string): string | undefined };
declare const EdgeRuntime: { waitUntil(work: Promise<unknown>): void } | undefined;

/**
 * Reads the environment of one function. `databaseUrl` names the setting with its own role's address
 * (`TUNEBASE_API_DB_URL` …). Throws an Error that names the setting that is missing or wrong.
 */
export function platform(databaseUrl: string, env: Environment = Deno.env): Platform {
  const settings = readSettings(env);
  return {
    settings,
    db: connect(required(env, databaseUrl)),
    supabase: storage(settings.supabaseUrl, secretKey(env)),
    later: (work) => {
      const logged = work.catch((error) => logError("background work failed", error));
      if (typeof EdgeRuntime !== "undefined") EdgeRuntime.waitUntil(logged);
    },
    log: logToConsole,
  };
}

/**
 * supabase-js's own client for Storage, without the rest of it: nothing else of it is used here, and it was a third of
 * the bundle. The key goes into both headers, as supabase-js sends it.
 */
function storage(url: string, key: string): Supabase {
  return { storage: new StorageClient(`${url}/storage/v1`, { apikey: key, authorization: `Bearer ${key}` }) };
}

/** The settings alone; see {@link platform}. */
export function readSettings(env: Environment): Settings {
  return {
    supabaseUrl: required(env, "SUPABASE_URL").replace(/\/+$/, ""),
    masterKey: required(env, "TUNEBASE_MASTER_KEY"),
    jwks: env.get("SUPABASE_JWKS") ?? null,
    legacyJwtSecret: env.get("TUNEBASE_LEGACY_JWT_SECRET") ?? null,
    allowLoopback: env.get("TUNEBASE_ALLOW_LOOPBACK") === "1",
    runpodUrl: (env.get("RUNPOD_API_URL") ?? "https://api.runpod.ai/v2").replace(/\/+$/, ""),
    runpodKey: env.get("RUNPOD_API_KEY") ?? "",
    runpodEndpoint: env.get("RUNPOD_ENDPOINT_ID") ?? "",
    leaseSeconds: whole(env, "TUNEBASE_LEASE_SECONDS", 60, 4, 3600),
    checkpointSeconds: whole(env, "TUNEBASE_CHECKPOINT_SECONDS", 300, 1, 86_400),
    maxMissedHeartbeats: whole(env, "TUNEBASE_MAX_MISSED_HEARTBEATS", 240, 1, 100_000),
    maxFileBytes: whole(env, "TUNEBASE_MAX_FILE_BYTES", 8 * 2 ** 30, 1024, 2 ** 40),
    checkSliceBytes: whole(env, "TUNEBASE_VALIDATION_CHUNK_BYTES", 24 * 2 ** 20, 1024, 2 ** 30),
    maxUploadBytes: whole(env, "TUNEBASE_MAX_UPLOAD_BYTES", 32 * 2 ** 20, 1024, 128 * 2 ** 20),
    tokenCountBudgetMs: whole(env, "TUNEBASE_TOKEN_COUNT_BUDGET_MS", 700, 10, 60_000),
    resendUrl: (env.get("RESEND_API_URL") ?? "https://api.resend.com").replace(/\/+$/, ""),
    resendKey: env.get("RESEND_API_KEY") || null,
    emailFrom: env.get("TUNEBASE_EMAIL_FROM") || null,
    wandb: env.get("TUNEBASE_WANDB") === "1",
    dashboardUrl: env.get("TUNEBASE_DASHBOARD_URL")?.replace(/\/+$/, "") || null,
  };
}

function required(env: Environment, name: string): string {
  const value = env.get(name);
  if (!value) throw new Error(`${name} is not set. docs/deploy.md lists the functions' secrets.`);
  return value;
}

function whole(env: Environment, name: string, fallback: number, least: number, most: number): number {
  const text = env.get(name);
  if (!text) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new Error(`${name}=${text} must be a whole number from ${least} to ${most}.`);
  }
  return value;
}

function secretKey(env: Environment): string {
  const keys: unknown = JSON.parse(env.get("SUPABASE_SECRET_KEYS") ?? "{}");
  const named = keys !== null && typeof keys === "object" && "default" in keys ? keys.default : undefined;
  const key = typeof named === "string" ? named : env.get("SUPABASE_SERVICE_ROLE_KEY");
  if (!key) {
    throw new Error(
      "SUPABASE_SECRET_KEYS has no key named default, and SUPABASE_SERVICE_ROLE_KEY is not set.",
    );
  }
  return key;
}
