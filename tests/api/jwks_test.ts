/** Supabase Auth's JWKS: an unavailable JWKS is a retryable error, and a static key set is refreshed. */
import { assertEquals, assertRejects } from "#assert";
import { createLocalJWKSet, errors, exportJWK, generateKeyPair, jwtVerify, SignJWT } from "jose";
import { keySet } from "../../supabase/functions/tunebase/middleware/jwks.ts";
import { authenticate } from "../../supabase/functions/tunebase/middleware/auth.ts";
import { ApiError } from "../../supabase/functions/_shared/errors.ts";
import { installBaseMiddleware } from "../../supabase/functions/_shared/http.ts";
import { readSettings } from "../../supabase/functions/_shared/platform.ts";
import { Hono } from "hono";
import type { ApiEnv } from "../../supabase/functions/tunebase/context.ts";

const [old, rotated, forged] = await Promise.all(
  ["old", "rotated", "forged"].map(async (kid) => {
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    return { kid, privateKey, jwk: { ...await exportJWK(publicKey), kid, alg: "ES256" } };
  }),
);
if (!old || !rotated || !forged) throw new Error("three keys");
let answer: () => Response = () => Response.json({ keys: [old.jwk, rotated.jwk] });
let fetches = 0;
const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => {
  fetches += 1;
  return answer();
});
Deno.test.afterAll(() => server.shutdown());
const supabaseUrl = `http://127.0.0.1:${server.addr.port}`;

const token = (key: typeof old) =>
  new SignJWT({ role: "authenticated" }).setProtectedHeader({ alg: "ES256", kid: key.kid })
    .setIssuer(`${supabaseUrl}/auth/v1`).setAudience("authenticated")
    .setSubject("00000000-0000-7000-8000-000000000000").setExpirationTime("1h").sign(key.privateKey);
const jwks = JSON.stringify({ keys: [old.jwk] });

Deno.test("an unknown key id refreshes a static JWKS; made-up ids cost one fetch", async () => {
  fetches = 0;
  const keys = keySet({ jwks, supabaseUrl });
  const verify = async (key: typeof old) => await jwtVerify(await token(key), keys);
  await verify(old);
  assertEquals(fetches, 0, "a known key needs no fetch");
  await verify(rotated);
  for (let i = 0; i < 10; i++) await assertRejects(() => verify(forged), errors.JWKSNoMatchingKey);
  assertEquals(fetches, 1);
});

const problems = {
  "503": () => new Response("down", { status: 503 }),
  "a page": () => new Response("<html>", { headers: { "content-type": "text/html" } }),
};
for (const [what, bad] of Object.entries(problems)) {
  Deno.test(`an unavailable JWKS (${what}) is a retryable 503 and is refetched at intervals`, async () => {
    answer = bad;
    fetches = 0;
    const env = { SUPABASE_URL: supabaseUrl, TUNEBASE_MASTER_KEY: "x" };
    const settings = readSettings({ get: (name) => Reflect.get(env, name) });
    const app = new Hono<ApiEnv>();
    installBaseMiddleware(app, "tunebase", { log: () => {} });
    app.use("*", authenticate(settings));
    app.get("/", (c) => c.text("in"));
    const get = async () => app.request("/", { headers: { authorization: `Bearer ${await token(old)}` } });
    const response = await get();
    assertEquals(
      [response.status, response.headers.get("retry-after"), response.headers.get("content-type")],
      [503, "5", "application/problem+json"],
    );
    assertEquals((await response.json()).error.code, "unavailable");
    for (let i = 0; i < 5; i++) assertEquals((await get()).status, 503);
    assertEquals(fetches, 1);
    answer = () => Response.json({ keys: [old.jwk] });
    const fresh = keySet({ jwks: null, supabaseUrl });
    await jwtVerify(await token(old), fresh);
  });
}

Deno.test("tokens with a cached key are accepted while Auth is down", async () => {
  answer = problems["503"];
  const keys = keySet({ jwks, supabaseUrl });
  await assertRejects(async () => await jwtVerify(await token(rotated), keys), ApiError);
  await jwtVerify(await token(old), keys);
  await jwtVerify(await token(old), createLocalJWKSet({ keys: [old.jwk] }));
});
