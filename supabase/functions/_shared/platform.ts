/** Everything an app needs from the platform, read from the environment once and passed to the app as one object. */
import { StorageClient } from "@supabase/storage-js";
import { hubNamePattern } from "./contracts/hub_repository.ts";
import { connect, type Database } from "./database/connect.ts";
import { type Log, logError, logToConsole } from "./log.ts";

/** Settings that several functions read. */
export interface Settings {
  /** The Supabase project's URL as clients and workers reach it, without a trailing slash. */
  supabaseUrl: string;
  /** The issuer of Auth's tokens. */
  authIssuer: string;
  masterKey: string;
  /** Supabase Auth's public keys. null: fetched when needed. */
  jwks: string | null;
  /** HS256 tokens are accepted only if the operator sets the legacy secret. */
  legacyJwtSecret: string | null;
  /** Accept http URLs of this machine: for development. */
  allowLoopback: boolean;
  runpodUrl: string;
  runpodKey: string;
  runpodEndpoint: string;
  /** Where inference endpoints are; `{endpoint}` is replaced with the endpoint's id. */
  inferenceUrl: string;
  /** How long a request that is not streamed waits for its answer. The platform ends it after 150 s. */
  inferenceWaitSeconds: number;
  /** RunPod ends a request to a load-balancing endpoint after 330 s. */
  inferenceTimeoutSeconds: number;
  leaseSeconds: number;
  /** How often a worker saves a checkpoint, approximately. */
  checkpointSeconds: number;
  /** Give up a run that RunPod shows as running after this many consecutive checks (15 s apart) without a heartbeat. */
  maxMissedHeartbeats: number;
  /** The largest file that POST /files accepts. */
  maxUploadBytes: number;
  /** The largest file that /uploads and /files/direct accept. */
  maxFileBytes: number;
  /** How many bytes of a large file to validate between two saved positions. */
  validationChunkBytes: number;
  /** How long counting a file's tokens may take: it is CPU time, of which the platform allows 2 s per request. */
  tokenCountBudgetMs: number;
  /** Email goes out through Resend's API, if both a key and a sender are set. */
  resendUrl: string;
  resendKey: string | null;
  emailFrom: string | null;
  /** Whether jobs can log to Weights & Biases: the workers have a key (WANDB_API_KEY). */
  wandb: boolean;
  /** The Hugging Face Hub's namespaces that jobs can push to: the workers have a token (HF_PUSH_TOKEN). */
  hubNamespaces: string[];
  /** Notifications link to `{dashboardUrl}/jobs/{id}`. */
  dashboardUrl: string | null;
}

/** What we use of Supabase over HTTP. */
export interface Supabase {
  storage: StorageClient;
}

export interface Platform {
  settings: Settings;
  db: Database;
  /** Holds the secret key: use it only after authorizing the caller. */
  supabase: Supabase;
  /** Continues work after the response. It can be cut off, so nothing may depend on it. */
  waitUntil: (work: Promise<unknown>) => void;
  log: Log;
}

type Environment = { get(name: string): string | undefined };
declare const EdgeRuntime: { waitUntil(work: Promise<unknown>): void } | undefined;

/**
 * Reads a function's environment. `databaseUrl` names the setting with the database URL of the function's own role
 * (`TUNEBASE_API_DB_URL` …). Throws an Error that names a missing or invalid setting.
 */
export function platform(databaseUrl: string, env: Environment = Deno.env): Platform {
  const settings = readSettings(env);
  return {
    settings,
    db: connect(required(env, databaseUrl)),
    supabase: storage(settings.supabaseUrl, secretKey(env)),
    waitUntil: (work) => {
      const logged = work.catch((error) => logError("background work failed", error));
      if (typeof EdgeRuntime !== "undefined") EdgeRuntime.waitUntil(logged);
    },
    log: logToConsole,
  };
}

/** Only supabase-js's Storage client: all of supabase-js was a third of the bundle. It sends the key in both headers too. */
function storage(url: string, key: string): Supabase {
  return { storage: new StorageClient(`${url}/storage/v1`, { apikey: key, authorization: `Bearer ${key}` }) };
}

/** Reads the settings only; see {@link platform}. */
export function readSettings(env: Environment): Settings {
  // Where Supabase runs in containers, SUPABASE_URL is an address that only the containers reach.
  const supabaseUrl = (env.get("TUNEBASE_SUPABASE_URL") || required(env, "SUPABASE_URL")).replace(/\/+$/, "");
  return {
    supabaseUrl,
    authIssuer: env.get("TUNEBASE_AUTH_ISSUER") || `${supabaseUrl}/auth/v1`,
    masterKey: required(env, "TUNEBASE_MASTER_KEY"),
    jwks: env.get("SUPABASE_JWKS") ?? null,
    legacyJwtSecret: env.get("TUNEBASE_LEGACY_JWT_SECRET") ?? null,
    allowLoopback: env.get("TUNEBASE_ALLOW_LOOPBACK") === "1",
    runpodUrl: (env.get("RUNPOD_API_URL") ?? "https://api.runpod.ai/v2").replace(/\/+$/, ""),
    runpodKey: env.get("RUNPOD_API_KEY") ?? "",
    runpodEndpoint: env.get("RUNPOD_ENDPOINT_ID") ?? "",
    inferenceUrl: (env.get("TUNEBASE_INFERENCE_URL") ?? "https://{endpoint}.api.runpod.ai").replace(
      /\/+$/,
      "",
    ),
    inferenceWaitSeconds: integerSetting(env, "TUNEBASE_INFERENCE_WAIT_SECONDS", 100, 1, 140),
    inferenceTimeoutSeconds: integerSetting(env, "TUNEBASE_INFERENCE_TIMEOUT_SECONDS", 330, 1, 330),
    leaseSeconds: integerSetting(env, "TUNEBASE_LEASE_SECONDS", 60, 4, 3600),
    checkpointSeconds: integerSetting(env, "TUNEBASE_CHECKPOINT_SECONDS", 300, 1, 86_400),
    maxMissedHeartbeats: integerSetting(env, "TUNEBASE_MAX_MISSED_HEARTBEATS", 240, 1, 100_000),
    maxFileBytes: integerSetting(env, "TUNEBASE_MAX_FILE_BYTES", 8 * 2 ** 30, 1024, 2 ** 40),
    validationChunkBytes: integerSetting(env, "TUNEBASE_VALIDATION_CHUNK_BYTES", 24 * 2 ** 20, 1024, 2 ** 30),
    maxUploadBytes: integerSetting(env, "TUNEBASE_MAX_UPLOAD_BYTES", 32 * 2 ** 20, 1024, 128 * 2 ** 20),
    tokenCountBudgetMs: integerSetting(env, "TUNEBASE_TOKEN_COUNT_BUDGET_MS", 700, 10, 60_000),
    resendUrl: (env.get("RESEND_API_URL") ?? "https://api.resend.com").replace(/\/+$/, ""),
    resendKey: env.get("RESEND_API_KEY") || null,
    emailFrom: env.get("TUNEBASE_EMAIL_FROM") || null,
    wandb: env.get("TUNEBASE_WANDB") === "1",
    hubNamespaces: readNamespaces(env, "TUNEBASE_HUB_NAMESPACES"),
    dashboardUrl: env.get("TUNEBASE_DASHBOARD_URL")?.replace(/\/+$/, "") || null,
  };
}

function required(env: Environment, name: string): string {
  const value = env.get(name);
  if (!value) throw new Error(`${name} is not set. See docs/deploy.md for the required function secrets.`);
  return value;
}

function integerSetting(env: Environment, name: string, fallback: number, min: number, max: number): number {
  const text = env.get(name);
  if (!text) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new Error(`${name}=${text} must be an integer from ${min} to ${max}.`);
  }
  return value;
}

function readNamespaces(env: Environment, name: string): string[] {
  const namespaces = (env.get(name) ?? "").split(",").map((namespace) => namespace.trim()).filter(Boolean);
  for (const namespace of namespaces) {
    if (!hubNamePattern.test(namespace)) {
      throw new Error(
        `${name}: ${namespace} is not a namespace of the Hugging Face Hub. Use a list such as acme,acme-labs.`,
      );
    }
  }
  return namespaces;
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
