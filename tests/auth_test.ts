import { assertEquals, assertStringIncludes } from "@std/assert";
import { exportJWK, generateKeyPair, importJWK, SignJWT } from "jose";
import { startTunebase } from "./tunebase.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const user = await tunebase.user();
const other = await tunebase.user();

const get = (token: string, headers: Record<string, string> = {}) =>
  fetch(`${tunebase.url}/functions/v1/api/fine_tuning/jobs`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });

/** A token as Auth would sign it, but for what a test changes. */
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

Deno.test("a user's access token opens their own project", async () => {
  const response = await get(user.accessToken);
  assertEquals(response.status, 200);
  assertEquals((await response.json()).data, []);
  assertEquals((await get(await token())).status, 200);
});

Deno.test("a token that is forged with the right key id and the wrong key is refused", async () => {
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  await exportJWK(privateKey);
  await refused(await get(await token({}, { key: privateKey })));
});

Deno.test("a token that has expired, never expires, or is another issuer's, audience's or role's is refused", async () => {
  await refused(await get(await token({}, { expires: -10 })));
  await refused(await get(await token({}, { expires: null })));
  await refused(await get(await token({}, { issuer: "https://elsewhere.example/auth/v1" })));
  await refused(await get(await token({}, { audience: "anon" })));
  await refused(await get(await token({ role: "anon" })));
  await refused(await get(await token({ role: "service_role" })));
});

Deno.test("an HS256 token is refused where no legacy secret is set", async () => {
  const forged = await new SignJWT({ role: "authenticated" }).setProtectedHeader({ alg: "HS256" })
    .setIssuer(`${tunebase.url}/auth/v1`).setAudience("authenticated").setSubject(user.id).setExpirationTime(
      "1h",
    )
    .sign(new TextEncoder().encode("guess"));
  await refused(await get(forged));
});

Deno.test("a user names another project by header, and must be a member of it", async () => {
  const header = (id: string) => ({ "openai-project": `proj_${id.replaceAll("-", "")}` });
  const mine = await get(user.accessToken, header(user.projectId));
  await mine.body?.cancel();
  assertEquals(mine.status, 200);
  const theirs = await get(user.accessToken, header(other.projectId));
  assertEquals([theirs.status, (await theirs.json()).error.code], [404, "project_not_found"]);
});

Deno.test("a viewer may read and not write", async () => {
  await tunebase.sql`
    insert into public.project_members (project_id, user_id, role) values (${other.projectId}, ${user.id}, 'viewer')`;
  const headers = { "openai-project": `proj_${other.projectId.replaceAll("-", "")}` };
  const read = await get(user.accessToken, headers);
  await read.body?.cancel();
  assertEquals(read.status, 200);
  const write = await fetch(
    `${tunebase.url}/functions/v1/api/fine_tuning/jobs/ftjob-${"0".repeat(32)}/cancel`,
    {
      method: "POST",
      headers: { authorization: `Bearer ${user.accessToken}`, ...headers },
    },
  );
  const body = await write.json();
  assertEquals(write.status, 403);
  assertStringIncludes(body.detail, "jobs:write");
});
