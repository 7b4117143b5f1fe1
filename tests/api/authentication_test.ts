import { assertEquals, assertStringIncludes } from "#assert";
import { exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT } from "jose";
import { startTunebase } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const user = await tunebase.user();
const other = await tunebase.user();

const get = (token: string, headers: Record<string, string> = {}) =>
  fetch(`${tunebase.url}/functions/v1/tunebase/fine_tuning/jobs`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });

/** A token like Auth's, with the test's changes. */
async function token(
  claims: Record<string, unknown> = {},
  options: { key?: CryptoKey; expires?: number | null; issuer?: string; audience?: string } = {},
): Promise<string> {
  const key = options.key ?? await importJWK(tunebase.keys.privateJwk, "ES256");
  const jwt = new SignJWT({ role: "authenticated", ...claims })
    .setProtectedHeader({ alg: "ES256", kid: String(tunebase.keys.privateJwk.kid) })
    .setIssuer(options.issuer ?? `${tunebase.url}/auth/v1`)
    .setAudience(options.audience ?? "authenticated")
    .setSubject(user.id);
  if (options.expires !== null) {
    jwt.setExpirationTime(Math.floor(Date.now() / 1000) + (options.expires ?? 60));
  }
  return await jwt.sign(key);
}
async function refused(response: Response, code = "invalid_token"): Promise<void> {
  const body = await response.json();
  assertEquals([response.status, body.error.code], [401, code]);
}

Deno.test("an access token grants access to its user's project", async () => {
  const response = await get(user.accessToken);
  assertEquals(response.status, 200);
  assertEquals((await response.json()).data, []);
  assertEquals((await get(await token())).status, 200);
});

Deno.test("rejects a token signed with the wrong key under a known key id", async () => {
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  await exportJWK(privateKey);
  await refused(await get(await token({}, { key: privateKey })));
});

Deno.test("rejects a token with a wrong expiry, issuer, audience or role", async () => {
  await refused(await get(await token({}, { expires: -10 })));
  await refused(await get(await token({}, { expires: null })));
  await refused(await get(await token({}, { issuer: "https://elsewhere.example/auth/v1" })));
  await refused(await get(await token({}, { audience: "anon" })));
  await refused(await get(await token({ role: "anon" })));
  await refused(await get(await token({ role: "service_role" })));
});

Deno.test("rejects an anonymous user, even a member", async () => {
  const response = await get(await token({ is_anonymous: true }));
  assertStringIncludes((await response.clone().json()).detail, "Anonymous users have no access");
  await refused(response);
  assertEquals((await get(await token({ is_anonymous: false }))).status, 200);
});

const claims = () => ({
  role: "authenticated",
  iss: `${tunebase.url}/auth/v1`,
  aud: "authenticated",
  sub: user.id,
  exp: Math.floor(Date.now() / 1000) + 3600,
});
const encode = (value: unknown) => base64url(new TextEncoder().encode(JSON.stringify(value)));
const base64url = (bytes: Uint8Array) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const kid = String(tunebase.keys.publicJwk.kid);
/** A token with this header, unsigned or signed with HMAC of `secret`. */
async function forge(header: Record<string, unknown>, secret?: Uint8Array<ArrayBuffer>): Promise<string> {
  const signed = `${encode({ typ: "JWT", ...header })}.${encode(claims())}`;
  if (secret === undefined) return `${signed}.`;
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
  ]);
  return `${signed}.${
    base64url(new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(signed))))
  }`;
}
const text = (value: string) => new TextEncoder().encode(value);

Deno.test("rejects HS256 tokens without a legacy secret, even when signed with the public key", async () => {
  const jwk = JSON.stringify(tunebase.keys.publicJwk);
  const publicKey = await importJWK(tunebase.keys.publicJwk, "ES256", { extractable: true });
  if (publicKey instanceof Uint8Array) throw new Error("a key pair's half");
  const pem = await exportSPKI(publicKey);
  const raw = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
  for (const secret of [text("guess"), text(jwk), text(pem), text(pem.trim()), raw, text(kid)]) {
    await refused(await get(await forge({ alg: "HS256", kid }, secret)));
    await refused(await get(await forge({ alg: "HS256" }, secret)));
    await refused(await get(await forge({ alg: "ES256", kid }, secret)));
  }
});

Deno.test("rejects tokens without a signature, with another algorithm, or with an embedded key", async () => {
  for (const alg of ["none", "None", "NONE", "", "HS256", "HS512", "ES256", "RS256"]) {
    await refused(await get(await forge({ alg, kid })));
  }
  const pair = await generateKeyPair("ES256", { extractable: true });
  const jwk = await exportJWK(pair.publicKey);
  const own = (header: Record<string, unknown>) =>
    new SignJWT(claims()).setProtectedHeader({ alg: "ES256", ...header }).sign(pair.privateKey);
  await refused(await get(await own({ jwk, kid })));
  await refused(await get(await own({ jku: "https://elsewhere.example/jwks.json", kid: "theirs" })));
  await refused(await get(await own({ kid: "another" })));
  await refused(await get(await own({})));
});

Deno.test("rejects a token with an unknown key id", async () => {
  const key = await importJWK(tunebase.keys.privateJwk, "ES256");
  const signed = await new SignJWT(claims()).setProtectedHeader({ alg: "ES256", kid: "another" }).sign(key);
  await refused(await get(signed));
});

Deno.test("rejects a token that is modified, truncated, not yet valid or without a user", async () => {
  const good = await token();
  const [header = "", , signature = ""] = good.split(".");
  await refused(await get(`${header}.${encode({ ...claims(), sub: other.id })}.${signature}`));
  await refused(await get(good.slice(0, -4)));
  await refused(await get(`${good}.${signature}`));
  await refused(await get("a.b.c"));
  await refused(await get("."));
  await refused(await get(await token({ nbf: Math.floor(Date.now() / 1000) + 600 })));
  const key = await importJWK(tunebase.keys.privateJwk, "ES256");
  const { sub: _, ...withoutSubject } = claims();
  const noUser = await new SignJWT(withoutSubject).setProtectedHeader({ alg: "ES256", kid }).sign(key);
  await refused(await get(noUser));
});

Deno.test("Supabase's own API keys are not accepted as credentials", async () => {
  await refused(await get(tunebase.keys.secretKey));
  await refused(await get(tunebase.keys.publishableKey));
  const url = `${tunebase.url}/functions/v1/tunebase/fine_tuning/jobs`;
  for (
    const request of [
      new Request(url, { headers: { apikey: tunebase.keys.secretKey } }),
      new Request(url, { headers: { authorization: user.apiKey } }),
      new Request(url, { headers: { authorization: `Basic ${btoa(`${user.apiKey}:`)}` } }),
      new Request(`${url}?api_key=${user.apiKey}&access_token=${user.accessToken}`),
      new Request(url, { headers: { cookie: `sb-access-token=${user.accessToken}` } }),
    ]
  ) await refused(await fetch(request), "missing_api_key");
});

Deno.test("with a legacy secret, HS256 tokens must be signed with it and pass the same checks", async () => {
  const secret = "an old project's secret, of some length";
  const old = await startTunebase({ TUNEBASE_LEGACY_JWT_SECRET: secret });
  try {
    const me = await old.user();
    const sign = (changes: Record<string, unknown>, with_ = secret) =>
      new SignJWT({
        role: "authenticated",
        iss: `${old.url}/auth/v1`,
        aud: "authenticated",
        sub: me.id,
        exp: Math.floor(Date.now() / 1000) + 60,
        ...changes,
      }).setProtectedHeader({ alg: "HS256" }).sign(text(with_));
    const call = (jwt: string) =>
      fetch(`${old.url}/functions/v1/tunebase/me`, { headers: { authorization: `Bearer ${jwt}` } });
    const good = await call(await sign({}));
    assertEquals([good.status, (await good.json()).user.email], [200, "user1@example.com"]);
    for (
      const bad of [{ role: "service_role" }, { role: "anon" }, { exp: 1 }, { exp: undefined }, {
        iss: "supabase",
      }, { aud: "x" }]
    ) {
      await refused(await call(await sign(bad)));
    }
    await refused(await call(await sign({}, `${secret}!`)));
  } finally {
    await old.close();
  }
});

Deno.test("rejects a revoked or altered key", async () => {
  const someone = await tunebase.user();
  const call = (key: string) =>
    fetch(`${tunebase.url}/functions/v1/tunebase/me`, { headers: { authorization: `Bearer ${key}` } });
  const { status, body } = await call(someone.apiKey);
  await body?.cancel();
  assertEquals(status, 200);
  await refused(
    await call(`${someone.apiKey.slice(0, -1)}${someone.apiKey.endsWith("A") ? "B" : "A"}`),
    "invalid_api_key",
  );
  await refused(await call(someone.apiKey.toUpperCase().replace("TB_", "tb_")), "invalid_api_key");
  await tunebase.sql`update tunebase.api_keys set revoked_at = now() where project_id = ${someone.projectId}`;
  await refused(await call(someone.apiKey), "invalid_api_key");
});

Deno.test("a user can select a project by header and must be a member of it", async () => {
  const header = (id: string) => ({ "openai-project": `proj_${id.replaceAll("-", "")}` });
  const mine = await get(user.accessToken, header(user.projectId));
  await mine.body?.cancel();
  assertEquals(mine.status, 200);
  const theirs = await get(user.accessToken, header(other.projectId));
  assertEquals([theirs.status, (await theirs.json()).error.code], [404, "project_not_found"]);
});

Deno.test("a viewer can read but not write", async () => {
  await tunebase.sql`
    insert into tunebase.project_members (project_id, user_id, role) values (${other.projectId}, ${user.id}, 'viewer')`;
  const headers = { "openai-project": `proj_${other.projectId.replaceAll("-", "")}` };
  const read = await get(user.accessToken, headers);
  await read.body?.cancel();
  assertEquals(read.status, 200);
  const write = await fetch(
    `${tunebase.url}/functions/v1/tunebase/fine_tuning/jobs/ftjob-${"0".repeat(32)}/cancel`,
    {
      method: "POST",
      headers: { authorization: `Bearer ${user.accessToken}`, ...headers },
    },
  );
  const body = await write.json();
  assertEquals(write.status, 403);
  assertStringIncludes(body.detail, "jobs:write");
});
