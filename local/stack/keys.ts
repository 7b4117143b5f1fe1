/** The secrets of an embedded stack, created once: the equivalents of a Supabase project's and a RunPod account's keys. */
import { exportJWK, generateKeyPair, type JWK } from "jose";
import * as z from "zod";
import { exists, join, writePrivate } from "../paths.ts";

const Keys = z.object({
  masterKey: z.string(),
  publishableKey: z.string(),
  secretKey: z.string(),
  storageSecret: z.string(),
  runpodKey: z.string(),
  workerKey: z.string(),
  passwords: z.object({
    postgres: z.string(),
    tunebase_api: z.string(),
    tunebase_callback: z.string(),
    tunebase_scheduler: z.string(),
  }),
  privateJwk: z.record(z.string(), z.unknown()),
  publicJwk: z.record(z.string(), z.unknown()),
  /** The account that `demo` and `dev` use, once it exists. */
  account: z.object({ email: z.string(), password: z.string(), apiKey: z.string() }).optional(),
});
export type Keys = z.infer<typeof Keys>;

const random = (bytes: number) =>
  btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(bytes)))).replaceAll("=", "");
/** Random letters for keys and passwords: base64url, `bytes` of randomness. */
export const randomText = (bytes: number) => random(bytes).replaceAll("+", "-").replaceAll("/", "_");

/** Reads a stack's `keys.json`, or creates it (mode 600). */
export async function loadKeys(home: string): Promise<Keys> {
  const path = join(home, "keys.json");
  if (await exists(path)) return Keys.parse(JSON.parse(await Deno.readTextFile(path)));
  const pair = await generateKeyPair("ES256", { extractable: true });
  const shared = { kid: randomText(9), alg: "ES256", use: "sig" };
  const asRecord = (jwk: JWK): Record<string, unknown> => ({ ...jwk, ...shared });
  const keys: Keys = {
    masterKey: btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32)))),
    publishableKey: `sb_publishable_${randomText(24)}`,
    secretKey: `sb_secret_${randomText(24)}`,
    storageSecret: randomText(32),
    runpodKey: `rpa_${randomText(24)}`,
    workerKey: randomText(24),
    passwords: {
      postgres: randomText(18),
      tunebase_api: randomText(18),
      tunebase_callback: randomText(18),
      tunebase_scheduler: randomText(18),
    },
    privateJwk: asRecord(await exportJWK(pair.privateKey)),
    publicJwk: asRecord(await exportJWK(pair.publicKey)),
  };
  await saveKeys(home, keys);
  return keys;
}

/** Writes them back. */
export async function saveKeys(home: string, keys: Keys): Promise<void> {
  await writePrivate(join(home, "keys.json"), JSON.stringify(keys, null, 2) + "\n");
}
