/**
 * Every secret comes from one master key (`TUNEBASE_MASTER_KEY`, 32 bytes in base64) by HKDF (RFC 5869) with a purpose
 * and a version: nothing that signs is stored, and rotating means a new version.
 */
import { hkdfSync } from "node:crypto";

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

/** Compares without telling by its time where two strings differ. */
export async function sameSecret(a: string, b: string): Promise<boolean> {
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
