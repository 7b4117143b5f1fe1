/**
 * Every secret comes from one master key (`TUNEBASE_MASTER_KEY`, 32 bytes in base64) by HKDF (RFC 5869) with a purpose
 * and a version: nothing that signs is stored, and rotating means a new version.
 */

const { hkdfSync } = await import("node:crypto"); // on_first_use.ts says why

const bytes = new TextEncoder();

// node:crypto and not Web Crypto: 9 µs against 110, where a callback's own work takes 250 (task bench).
function derive(masterKey: string, purpose: string): Uint8Array {
  const material = Uint8Array.from(atob(masterKey), (char) => char.charCodeAt(0));
  if (material.length !== 32) {
    throw new Error(
      `TUNEBASE_MASTER_KEY must be 32 bytes in base64; this one has ${material.length}. ` +
        "Make one with: openssl rand -base64 32",
    );
  }
  return new Uint8Array(hkdfSync("sha256", material, "tunebase", purpose, 32));
}

const base64 = (data: Uint8Array) => btoa(String.fromCharCode(...data));

/** A secret for one purpose, base64url. Purposes: `scheduler`, `runpod-webhook/<attempt id>`. */
export function deriveSecret(masterKey: string, purpose: string): string {
  return base64(derive(masterKey, `${purpose}/v1`)).replaceAll("+", "-").replaceAll("/", "_")
    .replaceAll("=", "");
}

/** The secret that signs one attempt's callbacks, in the form of Standard Webhooks: `whsec_` and base64. */
export function callbackSecret(masterKey: string, attemptId: string): string {
  return `whsec_${base64(derive(masterKey, `callback/${attemptId}/v1`))}`;
}

/**
 * The secret that signs a webhook endpoint's events, in the form of Standard Webhooks. Rotating it is the next version:
 * the row holds the number and nothing else.
 */
export async function webhookSecret(masterKey: string, endpointId: string, version: number): Promise<string> {
  return `whsec_${base64(await derive(masterKey, `webhook/${endpointId}/v${version}`))}`;
}

/** Encrypts a text (AES-256-GCM) under a key of its own purpose: base64 of the nonce and what it hides. */
export async function encrypt(masterKey: string, purpose: string, text: string): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const hidden = await crypto.subtle.encrypt(
    { name: "AES-GCM", iv },
    await encryptionKey(masterKey, purpose),
    bytes.encode(text),
  );
  return base64(new Uint8Array([...iv, ...new Uint8Array(hidden)]));
}

/** Decrypts what {@link encrypt} made for the same purpose; throws if it was made for another or changed. */
export async function decrypt(masterKey: string, purpose: string, sealed: string): Promise<string> {
  const data = Uint8Array.from(atob(sealed), (char) => char.charCodeAt(0));
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

/** Compares without telling by its time where two strings differ. */
export async function timingSafeEqual(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all(
    [a, b].map(async (text) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.encode(text)))),
  );
  return left !== undefined && right !== undefined && left.every((byte, i) => byte === right[i]);
}

/** SHA-256 of a text, in hex: how an API key is stored and how equal requests are recognised. */
export async function sha256Hex(text: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.encode(text))));
}

/** Bytes as lower-case hex. */
export function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
