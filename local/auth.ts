/**
 * Stands for Supabase Auth: sign-up, password sign-in, refresh, ES256 access tokens, a JWKS. Differs: a sign-up is
 * confirmed at once and sends no mail; no other providers, no factors, no rate limits.
 */
import { type Context, Hono } from "hono";
import { importJWK, type JWK, jwtVerify, SignJWT } from "jose";
import type postgres from "postgres";
import * as z from "zod";
import { randomText } from "./keys.ts";

interface Options {
  sql: postgres.Sql;
  /** The issuer of tokens, `…/auth/v1`. */
  issuer: string;
  privateJwk: JWK;
  publicJwk: JWK;
  publishableKey: string;
  secretKey: string;
}

const tokenSeconds = 3600;
const Credentials = z.object({
  email: z.email(),
  password: z.string(),
  data: z.record(z.string(), z.unknown()).optional(),
});
interface User {
  id: string;
  email: string;
  created_at: Date;
  raw_user_meta_data: unknown;
}

class AuthError extends Error {
  constructor(readonly status: 400 | 401 | 403 | 422, readonly code: string, message: string) {
    super(message);
  }
}

/** The app under `/auth/v1`, as a value. */
export function createAuth(options: Options): { fetch(request: Request): Response | Promise<Response> } {
  const { sql, issuer } = options;
  const app = new Hono().basePath("/auth/v1");
  app.onError((error, c) => {
    if (!(error instanceof AuthError)) throw error;
    return c.json({ code: error.status, error_code: error.code, msg: error.message }, error.status);
  });
  app.get("/.well-known/jwks.json", (c) => c.json({ keys: [options.publicJwk] }));
  app.get("/health", (c) => c.json({ name: "GoTrue", description: "a stand-in for development" }));
  app.use("*", async function requireApiKey(c, next) {
    const key = c.req.header("apikey");
    if (key !== options.publishableKey && key !== options.secretKey) {
      return c.json({ message: "Invalid API key", hint: "Send the publishable key as `apikey`." }, 401);
    }
    await next();
  });

  app.post("/signup", async (c) => {
    const { email, password, data } = await credentials(c);
    if (password.length < 6) {
      throw new AuthError(422, "weak_password", "Password should be at least 6 characters.");
    }
    const [user] = await sql<User[]>`
      insert into auth.users (email, encrypted_password, raw_user_meta_data, email_confirmed_at)
      values (${email.toLowerCase()}, extensions.crypt(${password}, extensions.gen_salt('bf')),
        ${JSON.stringify(data ?? {})}::text::jsonb, now())
      on conflict (email) do nothing returning *`;
    if (user === undefined) throw new AuthError(422, "user_already_exists", "User already registered");
    return c.json(await session(user, crypto.randomUUID()));
  });

  app.post("/token", async (c) => {
    if (c.req.query("grant_type") === "refresh_token") {
      const { refresh_token } = z.object({ refresh_token: z.string() }).parse(await c.req.json());
      // Each works once: it is revoked in the statement that reads it.
      const [found] = await sql<(User & { session_id: string })[]>`
        update auth.refresh_tokens t set revoked = true from auth.users u
        where t.token = sha256(${refresh_token}::bytea) and not t.revoked and u.id = t.user_id
        returning u.*, t.session_id`;
      if (found === undefined) {
        throw new AuthError(400, "refresh_token_not_found", "Invalid Refresh Token: Not Found");
      }
      return c.json(await session(found, found.session_id));
    }
    const { email, password } = await credentials(c);
    const [user] = await sql<User[]>`
      select * from auth.users
      where email = ${email.toLowerCase()} and encrypted_password = extensions.crypt(${password}, encrypted_password)`;
    if (user === undefined) throw new AuthError(400, "invalid_credentials", "Invalid login credentials");
    return c.json(await session(user, crypto.randomUUID()));
  });

  app.get("/user", async (c) => c.json(shown(await bearer(c))));
  app.post("/logout", async (c) => {
    const user = await bearer(c);
    await sql`update auth.refresh_tokens set revoked = true where user_id = ${user.id}`;
    return c.body(null, 204);
  });
  return app;

  async function session(user: User, sessionId: string) {
    const now = Math.floor(Date.now() / 1000);
    const refresh = randomText(16);
    await sql`insert into auth.refresh_tokens (token, user_id, session_id)
      values (sha256(${refresh}::bytea), ${user.id}, ${sessionId})`;
    const access = await new SignJWT({
      role: "authenticated",
      email: user.email,
      session_id: sessionId,
      aal: "aal1",
    })
      .setProtectedHeader({ alg: "ES256", kid: String(options.privateJwk.kid), typ: "JWT" })
      .setIssuer(issuer).setAudience("authenticated").setSubject(user.id).setIssuedAt(now)
      .setExpirationTime(now + tokenSeconds).sign(await importJWK(options.privateJwk, "ES256"));
    return {
      access_token: access,
      token_type: "bearer",
      expires_in: tokenSeconds,
      expires_at: now + tokenSeconds,
      refresh_token: refresh,
      user: shown(user),
    };
  }

  async function bearer(c: Context): Promise<User> {
    const token = c.req.header("authorization")?.replace(/^Bearer /, "") ?? "";
    const key = await importJWK(options.publicJwk, "ES256");
    const claims = await jwtVerify(token, key, { issuer, audience: "authenticated" }).catch(() => null);
    const id = claims?.payload.sub;
    const [user] = id === undefined ? [] : await sql<User[]>`select * from auth.users where id = ${id}`;
    if (user === undefined) {
      throw new AuthError(403, "bad_jwt", "invalid JWT: unable to parse or verify signature");
    }
    return user;
  }
}

async function credentials(c: Context): Promise<z.infer<typeof Credentials>> {
  const parsed = Credentials.safeParse(await c.req.json().catch(() => null));
  if (!parsed.success) throw new AuthError(400, "validation_failed", "An email and a password are needed.");
  return parsed.data;
}

function shown(user: User) {
  return {
    id: user.id,
    aud: "authenticated",
    role: "authenticated",
    email: user.email,
    email_confirmed_at: user.created_at,
    created_at: user.created_at,
    user_metadata: user.raw_user_meta_data,
    app_metadata: { provider: "email", providers: ["email"] },
    identities: [],
  };
}
