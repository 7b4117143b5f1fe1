/**
 * Supabase Auth's public keys. The platform can provide them as a static set (SUPABASE_JWKS), which becomes stale when a key
 * is rotated, so unknown key ids are looked up at the project's JWKS URL. If Auth does not respond, the token may still be
 * valid: respond with 503, which clients retry, and not with "invalid token", which signs users out.
 */
import { createLocalJWKSet, createRemoteJWKSet, errors, type JWTVerifyGetKey } from "jose";
import * as z from "zod";
import { ApiError } from "../../_shared/errors.ts";
import type { Settings } from "../../_shared/platform.ts";

/** The minimum time between two fetches for unknown key ids, which anyone can make up. */
const cooldownMs = 30_000;
/** The minimum time before retrying a failed fetch. */
const failureMs = 2_000;

const KeySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) });

export function keySet({ jwks, supabaseUrl }: Pick<Settings, "jwks" | "supabaseUrl">): JWTVerifyGetKey {
  const fetched = fetchedKeys(new URL(`${supabaseUrl}/auth/v1/.well-known/jwks.json`));
  if (jwks === null) return fetched;
  const provided = createLocalJWKSet(KeySet.parse(JSON.parse(jwks)));
  return async (header, token) => {
    try {
      return await provided(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return await fetched(header, token);
      throw error;
    }
  };
}

function fetchedKeys(url: URL): JWTVerifyGetKey {
  // Caches keys, fetches at most once per cooldown for unknown ids, and merges concurrent fetches.
  const keys = createRemoteJWKSet(url, { cooldownDuration: cooldownMs, timeoutDuration: 5000 });
  let failedUntil = 0;
  let failure: unknown;
  return async (header, token) => {
    if (Date.now() < failedUntil) throw unavailable(failure);
    try {
      return await keys(header, token);
    } catch (error) {
      if (isAboutTheToken(error)) throw error;
      failedUntil = Date.now() + failureMs;
      failure = error;
      throw unavailable(error);
    }
  };
}

/** Errors about the token's key. All others mean that the keys could not be fetched. */
const isAboutTheToken = (error: unknown) =>
  error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys ||
  error instanceof errors.JOSENotSupported;

function unavailable(cause: unknown): ApiError {
  return new ApiError("unavailable", [{
    param: null,
    message:
      "Supabase Auth's public keys, which verify access tokens, could not be fetched. It is safe to retry.",
  }], { cause });
}
