/**
 * All secrets are derived from one master key (`TUNEBASE_MASTER_KEY`, 32 bytes in base64) with HKDF (RFC 5869), by purpose
 * and version. No signing secret is stored; rotating one means using the next version.
 */

const { createHash, hkdfSync } = await import("node:crypto"); // see lazy.ts

const bytes = new TextEncoder();

// node:crypto instead of Web Crypto: 9 µs instead of 110, where all other work of a callback takes 250 (task bench).
function derive(masterKey: string, purpose: string): Uint8Array {
  const material = Uint8Array.from(atob(masterKey), (char) => char.charCodeAt(0));
  if (material.length !== 32) {
    throw new Error(
      `TUNEBASE_MASTER_KEY must be 32 bytes in base64, but has ${material.length}. ` +
        "Generate one with: openssl rand -base64 32",
    );
  }
  return new Uint8Array(hkdfSync("sha256", material, "tunebase", purpose, 32));
}

const base64 = (data: Uint8Array) => btoa(String.fromCharCode(...data));

/** A secret for one purpose, in base64url. Purposes: `scheduler`, `metrics`, `runpod-webhook/<attempt id>`. */
export function deriveSecret(masterKey: string, purpose: string): string {
  return base64(derive(masterKey, `${purpose}/v1`)).replaceAll("+", "-").replaceAll("/", "_")
    .replaceAll("=", "");
}

/** The secret that signs an attempt's callbacks, in Standard Webhooks format: `whsec_` and base64. */
export function callbackSecret(masterKey: string, attemptId: string): string {
  return `whsec_${base64(derive(masterKey, `callback/${attemptId}/v1`))}`;
}

/** The secret that signs a webhook endpoint's events, in Standard Webhooks format. The endpoint's row stores only `version`. */
export async function webhookSecret(masterKey: string, endpointId: string, version: number): Promise<string> {
  return `whsec_${base64(await derive(masterKey, `webhook/${endpointId}/v${version}`))}`;
}

/** Encrypts a text (AES-256-GCM) with a key derived for `purpose`. Returns nonce and ciphertext in base64. */
export async function encrypt(masterKey: string, purpose: string, text: string): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const ciphertext = await crypto.subtle.encrypt(
    { name: "AES-GCM", iv },
    await encryptionKey(masterKey, purpose),
    bytes.encode(text),
  );
  return base64(new Uint8Array([...iv, ...new Uint8Array(ciphertext)]));
}

/** Decrypts the output of {@link encrypt}. Throws if the purpose differs or the text was modified. */
export async function decrypt(masterKey: string, purpose: string, encrypted: string): Promise<string> {
  const data = Uint8Array.from(atob(encrypted), (char) => char.charCodeAt(0));
  const text = await crypto.subtle.decrypt(
    { name: "AES-GCM", iv: data.slice(0, 12) },
    await encryptionKey(masterKey, purpose),
    data.slice(12),
  );
  return new TextDecoder().decode(text);
}

async function encryptionKey(masterKey: string, purpose: string): Promise<CryptoKey> {
  const material = Uint8Array.from(await derive(masterKey, `seal/${purpose}/v1`));
  return await crypto.subtle.importKey("raw", material, "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** Compares two strings in time that does not depend on where they differ. */
export async function timingSafeEqual(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all(
    [a, b].map(async (text) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.encode(text)))),
  );
  return left !== undefined && right !== undefined && left.every((byte, i) => byte === right[i]);
}

/** SHA-256 of a text, in hex. */
// Not Web Crypto, which hands even a key to another thread: 9% of the API's CPU time for a created job, in a profile.
export function sha256Hex(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Lowercase hex. */
export function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
