/** The tokens of signed URLs: HS256 over the object's path, for one purpose. */
import { jwtVerify, SignJWT } from "jose";
import { StorageError } from "./errors.ts";

export type Scope = "download" | "upload";

/** A token for `bucket/path` and one purpose. */
export async function signToken(
  secret: string,
  url: string,
  scope: Scope,
  seconds: number,
  more: Record<string, unknown> = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return await new SignJWT({ url, scope, ...more }).setProtectedHeader({ alg: "HS256" })
    .setIssuedAt(now).setExpirationTime(now + seconds).sign(new TextEncoder().encode(secret));
}

/** Checks a token against the path and the purpose; returns its claims. InvalidJWT or InvalidSignature. */
export async function checkToken(
  secret: string,
  token: string,
  url: string,
  scope: Scope,
): Promise<Record<string, unknown>> {
  const verified = await jwtVerify(token, new TextEncoder().encode(secret), { algorithms: ["HS256"] }).catch(
    () => null,
  );
  if (verified === null) throw new StorageError("InvalidJWT");
  if (verified.payload.url !== url || verified.payload.scope !== scope) {
    throw new StorageError("InvalidSignature");
  }
  return verified.payload;
}
