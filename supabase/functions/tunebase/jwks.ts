/**
 * The public keys of Supabase Auth. The platform may give them as a static set (SUPABASE_JWKS), which is old once a key is
 * rotated: an unknown key id is looked up at the project's JWKS URL. That Auth does not answer is no fault of the token:
 * 503, which clients try again, and never "invalid token", which signs people out.
 */
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
} from "jose";
import { ApiError } from "../_shared/errors.ts";
import type { Settings } from "../_shared/platform.ts";

/** Between two fetches for unknown key ids, which anybody can make up. */
const cooldownMs = 30_000;
/** After a fetch that failed. */
const failureMs = 2_000;

export function keySet({ jwks, supabaseUrl }: Pick<Settings, "jwks" | "supabaseUrl">): JWTVerifyGetKey {
  const fetched = fetchedKeys(new URL(`${supabaseUrl}/auth/v1/.well-known/jwks.json`));
  if (jwks === null) return fetched;
  const given = createLocalJWKSet(JSON.parse(jwks) as JSONWebKeySet);
  return async (header, token) => {
    try {
      return await given(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return await fetched(header, token);
      throw error;
    }
  };
}

function fetchedKeys(url: URL): JWTVerifyGetKey {
  // It remembers the keys, fetches at most once a cooldown for an unknown id, and joins fetches that come at once.
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

/** Errors of the choice among keys that are here; all else means that they could not be had. */
const isAboutTheToken = (error: unknown) =>
  error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys ||
  error instanceof errors.JOSENotSupported;

function unavailable(cause: unknown): ApiError {
  return new ApiError("unavailable", [{
    param: null,
    message:
      "The keys that access tokens are checked with could not be read from Supabase Auth. Send the request again; it is safe.",
  }], { cause });
}
