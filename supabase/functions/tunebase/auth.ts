/**
 * Who calls: a Tunebase API key (`tb_…`), or a Supabase user's access token. A bad credential is refused and never
 * taken for a weaker one.
 */
import type { MiddlewareHandler } from "hono";
import { errors, jwtVerify, type JWTVerifyGetKey } from "jose";
import { ApiError } from "../_shared/errors.ts";
import type { Settings } from "../_shared/platform.ts";
import { sha256Hex } from "../_shared/secrets.ts";
import type { ApiEnv, Caller } from "./context.ts";
import { parseProjectId } from "./ids.ts";
import { keySet } from "./jwks.ts";

/** Sets `caller`, or refuses with 401 (503 when Auth's keys cannot be had). A user names another project than their first in `openai-project`. */
export function authenticate(settings: Settings): MiddlewareHandler<ApiEnv> {
  const keys = keySet(settings);
  return async function authenticateCaller(c, next) {
    const match = /^Bearer +(\S+)$/i.exec(c.req.header("authorization")?.trim() ?? "");
    const credential = match?.[1];
    if (credential === undefined) throw ApiError.of("missing_api_key");
    c.set(
      "caller",
      credential.startsWith("tb_")
        ? { key_hash: await sha256Hex(credential) }
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
    issuer: `${settings.supabaseUrl}/auth/v1`,
    audience: "authenticated",
    requiredClaims: ["exp", "sub"],
  };
  try {
    const legacy = settings.legacyJwtSecret;
    const { payload } = legacy !== null && headerAlgorithm(token) === "HS256"
      ? await jwtVerify(token, new TextEncoder().encode(legacy), { ...rules, algorithms: ["HS256"] })
      : await jwtVerify(token, keys, { ...rules, algorithms: ["ES256"] });
    if (payload.role !== "authenticated" || payload.sub === undefined) {
      throw refused(`Its role is ${JSON.stringify(payload.role)}; it must be a signed-in user's.`);
    }
    if (payload.is_anonymous === true) {
      throw refused("Anonymous users have no access. Sign in with an e-mail address or another identity.");
    }
    return { user_id: payload.sub, project_id: project ? parseProjectId(project) : null };
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw refused("It has expired. Refresh it, or sign in again.");
    if (error instanceof errors.JOSEError) {
      throw refused(
        "It must be a Supabase user's access token (ES256) of this project, or a Tunebase key (tb_…).",
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
    return undefined; // no JWT at all: jwtVerify says so
  }
}

function refused(why: string): ApiError {
  return new ApiError("invalid_token", [{ param: null, message: `The access token is not valid. ${why}` }]);
}
