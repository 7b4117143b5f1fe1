/**
 * Authentication: a Tunebase API key (`tb_…`) or a Supabase user's access token. An invalid credential is rejected, never
 * treated as another kind.
 */
import type { MiddlewareHandler } from "hono";
import { errors, jwtVerify, type JWTVerifyGetKey } from "jose";
import { ApiError } from "../../_shared/errors.ts";
import type { Settings } from "../../_shared/platform.ts";
import { sha256Hex } from "../../_shared/secrets.ts";
import type { ApiEnv, Caller } from "../context.ts";
import { parseProjectId } from "../ids.ts";
import { keySet } from "./jwks.ts";

/**
 * Sets `caller`, or responds with 401 (503 if Auth's keys cannot be fetched). Users can select a project other than their
 * first with the header `openai-project`.
 */
export function authenticate(settings: Settings): MiddlewareHandler<ApiEnv> {
  const keys = keySet(settings);
  return async function authenticateCaller(c, next) {
    const match = /^Bearer +(\S+)$/i.exec(c.req.header("authorization")?.trim() ?? "");
    const credential = match?.[1];
    if (credential === undefined) throw ApiError.of("missing_api_key");
    c.set(
      "caller",
      credential.startsWith("tb_")
        ? { key_hash: sha256Hex(credential) }
        : await user(credential, keys, settings, c.req.header("openai-project")),
    );
    await next();
  };
}

async function user(
  token: string,
  keys: JWTVerifyGetKey,
  settings: Settings,
  project: string | undefined,
): Promise<Caller> {
  const rules = {
    issuer: settings.authIssuer,
    audience: "authenticated",
    requiredClaims: ["exp", "sub"],
  };
  try {
    const legacy = settings.legacyJwtSecret;
    const { payload } = legacy !== null && headerAlgorithm(token) === "HS256"
      ? await jwtVerify(token, new TextEncoder().encode(legacy), { ...rules, algorithms: ["HS256"] })
      : await jwtVerify(token, keys, { ...rules, algorithms: ["ES256"] });
    if (payload.role !== "authenticated" || payload.sub === undefined) {
      throw invalid(`Its role is ${JSON.stringify(payload.role)}; it must be a signed-in user's.`);
    }
    if (payload.is_anonymous === true) {
      throw invalid("Anonymous users have no access. Sign in with an email address or another identity.");
    }
    return { user_id: payload.sub, project_id: project ? parseProjectId(project) : null };
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw invalid("It has expired. Refresh it or sign in again.");
    if (error instanceof errors.JOSEError) {
      throw invalid(
        "It must be an access token (ES256) of a user of this Supabase project, or a Tunebase API key (tb_…).",
      );
    }
    throw error;
  }
}

function headerAlgorithm(token: string): unknown {
  try {
    const [header = ""] = token.split(".");
    return JSON.parse(atob(header.replaceAll("-", "+").replaceAll("_", "/"))).alg;
  } catch {
    return undefined; // not a JWT: jwtVerify will throw
  }
}

function invalid(reason: string): ApiError {
  return new ApiError("invalid_token", [{
    param: null,
    message: `The access token is not valid. ${reason}`,
  }]);
}
