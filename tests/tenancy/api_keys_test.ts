/** API keys: shown once, stored as a hash, limited by scopes and expiry, revocable; and /me. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { scopes } from "../../supabase/functions/_shared/contracts/scopes.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const ada = await tunebase.user();

async function as(token: string, method: string, path: string, body?: unknown, headers = {}) {
  const response = await ada.fetch(path, {
    method,
    headers: { authorization: `Bearer ${token}`, ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}
const make = (user: TestUser, body: unknown) => as(user.accessToken, "POST", "/api_keys", body);

Deno.test("a key is shown only once, and only its hash is stored", async () => {
  const made = await make(ada, { name: "CI", scopes: ["jobs:read", "jobs:read"] });
  const { key, id } = made.body;
  assertEquals([made.status, made.body.object, made.body.scopes, made.headers.get("cache-control")], [
    200,
    "api_key",
    ["jobs:read"],
    "no-store",
  ]);
  assert(/^tb_[A-Za-z0-9_-]{43}$/.test(key) && /^key_[0-9a-f]{32}$/.test(id));
  assertEquals(made.body.hint, `${key.slice(0, 6)}…${key.slice(-4)}`);
  assertEquals((await as(key, "GET", "/fine_tuning/jobs")).status, 200);
  assertEquals((await as(key, "GET", "/files")).status, 403);

  const listed = await as(ada.accessToken, "GET", "/api_keys");
  const shown = listed.body.data.find((one: { id: string }) => one.id === id);
  assertEquals([shown.name, "key" in shown, shown.created_by], [
    "CI",
    false,
    `user-${ada.id.replaceAll("-", "")}`,
  ]);
  assert(shown.last_used_at !== null, "its use was noted");
  for (
    const { table } of await sql`
    select format('%I.%I', schemaname, tablename) as table from pg_tables where schemaname in ('public', 'tunebase')`
  ) {
    const [found] = await sql.unsafe(`select 1 from ${table} t where t::text like '%' || $1 || '%' limit 1`, [
      key,
    ]);
    assertEquals(found, undefined, `${table} holds the key`);
  }
});

Deno.test("a key with default scopes can do everything except manage the project", async () => {
  const { key } = (await make(ada, { name: "plain" })).body;
  assertEquals((await as(key, "GET", "/files")).status, 200);
  for (const [method, path] of [["GET", "/api_keys"], ["POST", "/api_keys"]] as const) {
    const said = await as(key, method, path, method === "POST" ? { name: "x" } : undefined);
    assertEquals([said.status, said.body.error.code], [403, "insufficient_scope"]);
  }
  const manager = (await make(ada, { name: "admin", scopes: ["project:read", "project:admin"] })).body.key;
  assertEquals((await as(manager, "POST", "/api_keys", { name: "by a key" })).body.created_by, null);
});

Deno.test("a key can be renamed, restricted, given an expiry, and revoked", async () => {
  const { key, id } = (await make(ada, { name: "old" })).body;
  const path = `/api_keys/${id}`;
  const soon = Math.floor(Date.now() / 1000) + 3600;
  const changed = await as(ada.accessToken, "POST", path, {
    name: "new",
    scopes: ["files:read"],
    expires_at: soon,
  });
  assertEquals([changed.body.name, changed.body.scopes, changed.body.expires_at], [
    "new",
    ["files:read"],
    soon,
  ]);
  assertEquals((await as(key, "GET", "/fine_tuning/jobs")).status, 403, "at once");
  assertEquals((await as(ada.accessToken, "POST", path, { expires_at: null })).body.expires_at, null);
  assertEquals((await as(ada.accessToken, "POST", path, { expires_at: 1 })).status, 400);

  assertEquals((await as(ada.accessToken, "DELETE", path)).body, { id, object: "api_key", deleted: true });
  assertEquals((await as(ada.accessToken, "DELETE", path)).status, 200, "again it changes nothing");
  assertEquals((await as(key, "GET", "/files")).body.error.code, "invalid_api_key");
  assert((await as(ada.accessToken, "GET", path)).body.revoked_at !== null);
  const late = await as(ada.accessToken, "POST", path, { name: "back" });
  assertEquals([late.status, late.body.error.code], [409, "api_key_revoked"]);
});

Deno.test("using a key does not change its ETag; editing it does", async () => {
  const { key, id } = (await make(ada, { name: "busy" })).body;
  const path = `/api_keys/${id}`;
  const etag = (await as(ada.accessToken, "GET", path)).headers.get("etag") ?? "";
  await as(key, "GET", "/files");
  assert((await as(ada.accessToken, "GET", path)).headers.get("etag") !== etag, "what is shown has changed");
  assertEquals((await as(ada.accessToken, "POST", path, { name: "a" }, { "if-match": etag })).status, 200);
  const stale = await as(ada.accessToken, "POST", path, { name: "b" }, { "if-match": etag });
  assertEquals([stale.status, stale.body.error.code], [412, "precondition_failed"]);
  assertEquals((await as(ada.accessToken, "DELETE", path, undefined, { "if-match": etag })).status, 412);
});

Deno.test("If-Match also guards updates and deletes of webhook endpoints", async () => {
  const types = ["fine_tuning.job.succeeded"];
  const url = `${tunebase.url}/hook`;
  const made = await as(ada.apiKey, "POST", "/webhook_endpoints", { name: "w", url, event_types: types });
  const path = `/webhook_endpoints/${made.body.id}`;
  const etag = made.headers.get("etag") ?? "";
  const both = await as(ada.apiKey, "POST", path, { name: "x", enabled: false }, { "if-match": etag });
  assertEquals([both.status, both.body.name, both.body.enabled], [200, "x", false]);
  assertEquals((await as(ada.apiKey, "POST", path, { name: "y" }, { "if-match": etag })).status, 412);
  assertEquals((await as(ada.apiKey, "DELETE", path, undefined, { "if-match": etag })).status, 412);
  assertEquals((await as(ada.apiKey, "GET", path)).body.name, "x");
  const now = both.headers.get("etag") ?? "";
  assertEquals((await as(ada.apiKey, "DELETE", path, undefined, { "if-match": now })).status, 200);
});

const bad: [string, unknown, string, string][] = [
  ["without a name", {}, "name", "is required"],
  ["with an unknown scope", { name: "x", scopes: ["root"] }, "scopes.0", "files:read"],
  ["without scopes", { name: "x", scopes: [] }, "scopes", "too short"],
  ["that has ended already", { name: "x", expires_at: 1000 }, "expires_at", "must be in the future"],
  ["with an unknown field", { name: "x", secret: "tb_x" }, "secret", "unknown field"],
];
for (const [what, body, param, said] of bad) {
  Deno.test(`rejects a key ${what}`, async () => {
    const refused = await make(ada, body);
    assertEquals([refused.status, refused.body.error.param], [400, param]);
    assertStringIncludes(refused.body.detail, said);
  });
}

Deno.test("the API's scopes match the database", async () => {
  const [row] = await sql`select tunebase_internal.scopes() as scopes`;
  assertEquals(row?.scopes, [...scopes]);
});

Deno.test("/me describes a user, a key, and a user without a project", async () => {
  const user = (await as(ada.accessToken, "GET", "/me")).body;
  assertEquals([user.user.id, user.api_key, user.role, user.scopes], [
    `user-${ada.id.replaceAll("-", "")}`,
    null,
    "owner",
    [...scopes],
  ]);
  assertEquals(user.project.limits.requests_per_minute, 6000);
  const made = (await make(ada, { name: "me", scopes: ["models:read"] })).body;
  const key = (await as(made.key, "GET", "/me")).body;
  assertEquals([key.user, key.api_key.id, key.role, key.scopes, key.project.id], [
    null,
    made.id,
    null,
    ["models:read"],
    user.project.id,
  ]);
  const lost = await tunebase.user();
  await sql`delete from tunebase.project_members where user_id = ${lost.id}`;
  const nowhere = (await as(lost.accessToken, "GET", "/me")).body;
  assertEquals([nowhere.project, nowhere.scopes], [null, []]);
  assertEquals((await as(lost.accessToken, "GET", "/projects")).body.data, []);
  assertEquals((await as(lost.accessToken, "GET", "/files")).status, 404);
  assertEquals(nowhere.can_create_project, false);
  assertStringIncludes(nowhere.hint, "task operator owner");
  assertEquals([user.can_create_project, user.hint], [true, null]);
});

Deno.test("a project can have at most 100 active keys", async () => {
  const user = await tunebase.user();
  await sql`insert into tunebase.api_keys (project_id, name, hint, scopes)
    select ${user.projectId}, 'k', 'tb_', '{jobs:read}' from generate_series(1, 99)`;
  const refused = await make(user, { name: "one more" });
  assertEquals([refused.status, refused.body.error.code], [403, "quota_exceeded"]);
});
