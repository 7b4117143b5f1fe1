/**
 * Emulates Supabase Auth: sign-up, sign-in by password and by magic link, refresh, ES256 access tokens, a JWKS.
 * Differs: sign-ups are confirmed immediately; magic links go to `mail` and are not sent; without settings, links lead to
 * this machine only; no PKCE, other providers, MFA or rate limits.
 */
import { type Context, Hono } from "hono";
import { decodeJwt, importJWK, type JWK, jwtVerify, SignJWT } from "jose";
import type postgres from "postgres";
import * as z from "zod";
import { hex } from "../../../supabase/functions/_shared/secrets.ts";
import { randomText } from "../../stack/keys.ts";

interface Options {
  sql: postgres.Sql;
  /** The issuer of tokens, `…/auth/v1`. */
  issuer: string;
  privateJwk: JWK;
  publicJwk: JWK;
  publishableKey: string;
  secretKey: string;
  /** Receives emails instead of sending them. */
  mail?: (mail: { to: string; link: string }) => void;
  /** The rounds of a password's hash, as an exponent of two. */
  hashCost?: number;
  /** The project's settings. By default, anyone may sign up, and links lead to the dashboard. */
  settings?: () => AuthSettings;
}

export interface AuthSettings {
  disableSignup: boolean;
  /** Where a link leads if its target is not allowed; null: the dashboard under this gateway. */
  siteUrl: string | null;
  /** Allowed targets: exact URLs, or with `*` and `**`. */
  redirectUrls: string[];
}

const tokenSeconds = 3600;
/** A magic link is valid for an hour and works once. */
const linkSeconds = 3600;
const Credentials = z.object({
  email: z.email(),
  password: z.string(),
  data: z.record(z.string(), z.unknown()).optional(),
});
const Otp = z.object({ email: z.email(), create_user: z.boolean().default(true) });
const NewUser = z.object({
  email: z.email(),
  password: z.string().optional(),
  email_confirm: z.boolean().default(false),
});
const Link = z.object({ type: z.literal("magiclink"), email: z.email(), redirect_to: z.string().optional() });
interface User {
  id: string;
  email: string;
  created_at: Date;
  raw_user_meta_data: unknown;
}

class AuthError extends Error {
  constructor(readonly status: 400 | 401 | 403 | 404 | 422, readonly code: string, message: string) {
    super(message);
  }
}

/** The app under `/auth/v1`, as a value. */
export function createAuth(options: Options): { fetch(request: Request): Response | Promise<Response> } {
  const { sql, issuer, hashCost = 6 } = options;
  const settings = () => options.settings?.() ?? { disableSignup: false, siteUrl: null, redirectUrls: [] };
  const app = new Hono().basePath("/auth/v1");
  app.onError((error, c) => {
    if (!(error instanceof AuthError)) throw error;
    return c.json({ code: error.status, error_code: error.code, msg: error.message }, error.status);
  });
  app.get("/.well-known/jwks.json", (c) => c.json({ keys: [options.publicJwk] }));
  // Opened from an email: it carries a token and no API key.
  app.get("/verify", async (c) => {
    const to = redirectTarget(c.req.query("redirect_to"));
    const [user] = await sql<User[]>`
      with used as (delete from auth.one_time_tokens where token_hash = ${await hashed(
      c.req.query("token") ?? "",
    )}
        returning user_id, created_at > now() - make_interval(secs => ${linkSeconds}) as alive)
      select u.* from used join auth.users u on u.id = used.user_id where used.alive`;
    const parameters: Record<string, string> = user === undefined
      ? {
        error: "access_denied",
        error_code: "otp_expired",
        error_description: "Email link is invalid or has expired",
      }
      : await fragment(user);
    to.hash = new URLSearchParams(parameters).toString();
    return c.redirect(to.href, 303);
  });
  app.get("/health", (c) => c.json({ name: "GoTrue", description: "an emulator for development" }));
  app.use("*", async function requireApiKey(c, next) {
    const key = c.req.header("apikey");
    if (key !== options.publishableKey && key !== options.secretKey) {
      return c.json({ message: "Invalid API key", hint: "Send the publishable key as `apikey`." }, 401);
    }
    await next();
  });

  app.post("/signup", async (c) => {
    const { email, password, data } = await credentials(c);
    if (settings().disableSignup) {
      throw new AuthError(422, "signup_disabled", "Signups not allowed for this instance");
    }
    if (password.length < 6) {
      throw new AuthError(422, "weak_password", "Password should be at least 6 characters.");
    }
    const [user] = await sql<User[]>`
      insert into auth.users (email, encrypted_password, raw_user_meta_data, email_confirmed_at)
      values (${email.toLowerCase()}, extensions.crypt(${password}, extensions.gen_salt('bf', ${hashCost})),
        ${JSON.stringify(data ?? {})}::text::jsonb, now())
      on conflict (email) do nothing returning *`;
    if (user === undefined) throw new AuthError(422, "user_already_exists", "User already registered");
    return c.json(await session(user, crypto.randomUUID()));
  });

  app.post("/token", async (c) => {
    if (c.req.query("grant_type") === "refresh_token") {
      const { refresh_token } = z.object({ refresh_token: z.string() }).parse(await c.req.json());
      // Single-use: revoked in the statement that reads it.
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

  app.post("/otp", async (c) => {
    const { email, create_user } = await read(c, Otp, "An email is needed.");
    const [user] = await sql<User[]>`select * from auth.users where email = ${email.toLowerCase()}`;
    if (user === undefined && !create_user) {
      throw new AuthError(422, "otp_disabled", "Signups not allowed for otp");
    }
    const id = user?.id ?? (await sql<User[]>`insert into auth.users (email, email_confirmed_at)
      values (${email.toLowerCase()}, now()) returning id`)[0]?.id ?? "";
    options.mail?.({ to: email, link: await makeLink(id, c.req.query("redirect_to")) });
    return c.json({});
  });
  app.use("/admin/*", async function requireSecretKey(c, next) {
    if (c.req.header("authorization") !== `Bearer ${options.secretKey}`) {
      throw new AuthError(403, "not_admin", "User not allowed");
    }
    await next();
  });
  app.post("/admin/users", async (c) => {
    const { email, password, email_confirm } = await read(c, NewUser, "An email is needed.");
    const [user] = await sql<User[]>`
      insert into auth.users (email, encrypted_password, email_confirmed_at)
      values (${email.toLowerCase()},
        case when ${password ?? null}::text is not null
          then extensions.crypt(${password ?? null}, extensions.gen_salt('bf')) end,
        case when ${email_confirm} then now() end)
      on conflict (email) do nothing returning *`;
    if (user === undefined) {
      throw new AuthError(422, "email_exists", "A user with this email address has already been registered");
    }
    return c.json(shown(user));
  });
  app.post("/admin/generate_link", async (c) => {
    const { email, redirect_to } = await read(c, Link, "type must be magiclink, and email an address.");
    const [user] = await sql<User[]>`select * from auth.users where email = ${email.toLowerCase()}`;
    if (user === undefined) throw new AuthError(404, "user_not_found", "User not found");
    return c.json({
      ...shown(user),
      action_link: await makeLink(user.id, c.req.query("redirect_to") ?? redirect_to),
    });
  });

  app.get("/user", async (c) => c.json(shown(await bearer(c))));
  app.post("/logout", async (c) => {
    const user = await bearer(c);
    const { session_id } = decodeJwt(c.req.header("authorization")?.replace(/^Bearer /, "") ?? "");
    const session = c.req.query("scope") === "local" ? String(session_id) : null;
    await sql`update auth.refresh_tokens set revoked = true
      where user_id = ${user.id} and (${session}::uuid is null or session_id = ${session}::uuid)`;
    return c.body(null, 204);
  });
  return app;

  async function makeLink(userId: string, redirect: string | undefined): Promise<string> {
    const token = randomText(32);
    await sql`insert into auth.one_time_tokens (token_hash, user_id) values (${await hashed(
      token,
    )}, ${userId})`;
    const to = redirectTarget(redirect).href;
    return `${issuer}/verify?${new URLSearchParams({ token, type: "magiclink", redirect_to: to })}`;
  }

  /**
   * The redirect target of a link: the site's host, or what the settings allow. Without settings, this machine. Like Auth,
   * falls back to the site URL for other addresses.
   */
  function redirectTarget(wanted: string | undefined): URL {
    const { siteUrl, redirectUrls } = settings();
    const site = siteUrl === null ? new URL("/dashboard/", issuer) : new URL(siteUrl);
    if (wanted === undefined || !URL.canParse(wanted)) return site;
    const url = new URL(wanted);
    const hosts = siteUrl === null ? ["127.0.0.1", "localhost"] : [site.hostname];
    const isAllowed = hosts.includes(url.hostname) ||
      redirectUrls.some((pattern) => matches(pattern, wanted));
    return isAllowed ? url : site;
  }

  async function fragment(user: User): Promise<Record<string, string>> {
    const { user: _, ...tokens } = await session(user, crypto.randomUUID());
    return {
      ...Object.fromEntries(Object.entries(tokens).map(([name, value]) => [name, String(value)])),
      type: "magiclink",
    };
  }

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

/** A redirect pattern: `*` matches anything up to the next separator (`.` or `/`), `**` anything. */
function matches(pattern: string, url: string): boolean {
  const parts = pattern.split(/(\*\*|\*)/).map((part) =>
    part === "**" ? ".*" : part === "*" ? "[^./]*" : part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`^${parts.join("")}$`).test(url);
}

const credentials = (c: Context) => read(c, Credentials, "An email and a password are needed.");

async function read<T>(c: Context, schema: z.ZodType<T>, needed: string): Promise<T> {
  const parsed = schema.safeParse(await c.req.json().catch(() => null));
  if (!parsed.success) throw new AuthError(400, "validation_failed", needed);
  return parsed.data;
}

const hashed = async (token: string): Promise<string> =>
  hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token))));

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
