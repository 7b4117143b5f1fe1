/** The functions' environment: the platform's variables and the operator's secrets. */
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import type { Keys } from "./keys.ts";

/** `url` is the gateway's; `dbUrl` connects as the superuser. */
export function callbackEnvironment(url: string, dbUrl: string, keys: Keys): Record<string, string> {
  const as = (role: "tunebase_api" | "tunebase_callback" | "tunebase_scheduler") => {
    const address = new URL(dbUrl);
    address.username = role;
    address.password = keys.passwords[role];
    return address.href;
  };
  return {
    SUPABASE_URL: url,
    SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: keys.publishableKey }),
    SUPABASE_SECRET_KEYS: JSON.stringify({ default: keys.secretKey }),
    SUPABASE_JWKS: JSON.stringify({ keys: [keys.publicJwk] }),
    TUNEBASE_MASTER_KEY: keys.masterKey,
    TUNEBASE_API_DB_URL: as("tunebase_api"),
    TUNEBASE_CALLBACK_DB_URL: as("tunebase_callback"),
    TUNEBASE_SCHEDULER_DB_URL: as("tunebase_scheduler"),
    TUNEBASE_ALLOW_LOOPBACK: "1",
    RUNPOD_API_URL: `${url}/runpod/v2`,
    RUNPOD_API_KEY: keys.runpodKey,
    RUNPOD_ENDPOINT_ID: "local",
    TUNEBASE_INFERENCE_URL: `${url}/runpod/lb/{endpoint}`,
  };
}

/** The timer's credential. */
export const deriveSchedulerSecret = (keys: Keys): string => deriveSecret(keys.masterKey, "scheduler");

/** The variables that a Deno child process needs for its cache, and for downloads where a proxy checks them. */
export function denoEnvironment(): Record<string, string> {
  const names = [
    ...["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME", "TMPDIR"],
    ...["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "DENO_CERT", "DENO_TLS_CA_STORE"],
    ...["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "NPM_CONFIG_REGISTRY"],
  ];
  return Object.fromEntries(names.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  }));
}
