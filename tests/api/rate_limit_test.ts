/** Rate limits per key and user, shared by all isolates. */
import { assert, assertEquals } from "#assert";
import OpenAI from "openai";
import { createApp } from "../../supabase/functions/tunebase/app.ts";
import type { Database } from "../../supabase/functions/_shared/database/connect.ts";
import { platform } from "../../supabase/functions/_shared/platform.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;

const shared = platform("TUNEBASE_API_DB_URL", { get: (name) => tunebase.env[name] });
Deno.test.afterAll(() => shared.db.close());

/** A separate app, like that of another isolate. */
function isolate(db: Database) {
  return createApp({ ...shared, db, log: () => undefined });
}
const request = (user: TestUser) =>
  new Request("http://x/tunebase/models", { headers: { authorization: `Bearer ${user.apiKey}` } });

/** A user whose project is limited to this many requests per minute, with a full bucket. */
async function limited(perMinute: number): Promise<TestUser> {
  const user = await tunebase.user();
  await sql`update tunebase.projects set requests_per_minute = ${perMinute} where id = ${user.projectId}`;
  return user;
}
const statuses = async (user: TestUser, times: number) => {
  const found: number[] = [];
  for (let i = 0; i < times; i++) {
    const response = await user.fetch("/models");
    await response.body?.cancel();
    found.push(response.status);
  }
  return found;
};

Deno.test("responses carry the remaining requests, and a 429 carries Retry-After", async () => {
  const user = await limited(10);
  const first = await user.fetch("/models");
  await first.body?.cancel();
  assertEquals(first.headers.get("ratelimit-policy"), '"requests";q=10;w=60');
  assertEquals(first.headers.get("ratelimit"), '"requests";r=9;t=6');
  assertEquals(await statuses(user, 9), Array(9).fill(200));
  const refused = await user.fetch("/models");
  const body = await refused.json();
  assertEquals([refused.status, body.error.code, body.error.type], [
    429,
    "rate_limit_exceeded",
    "rate_limit_error",
  ]);
  const wait = Number(refused.headers.get("retry-after"));
  assert(wait >= 1 && wait <= 6, `a request every six seconds: ${wait}`);
  assertEquals([refused.headers.get("x-should-retry"), refused.headers.get("ratelimit")], [
    "true",
    '"requests";r=0;t=60',
  ]);
});

Deno.test("rate limits are per caller: each key and each user", async () => {
  const user = await limited(2);
  assertEquals(await statuses(user, 3), [200, 200, 429]);
  const asUser = await user.fetch("/models", { headers: { authorization: `Bearer ${user.accessToken}` } });
  await asUser.body?.cancel();
  assertEquals(asUser.status, 200);
  assertEquals(await statuses(await tunebase.user(), 3), [200, 200, 200]);
});

Deno.test("the official SDK waits for Retry-After and continues", async () => {
  const user = await limited(60);
  /** When a request was rejected, and when the SDK sent the next one. */
  const refused: { at: number; retryAfterMs: number; nextAt?: number }[] = [];
  const openai = new OpenAI({
    baseURL: `${tunebase.url}/functions/v1/tunebase`,
    apiKey: user.apiKey,
    maxRetries: 3,
    fetch: async (...request) => {
      const last = refused.at(-1);
      if (last !== undefined) last.nextAt ??= Date.now();
      const response = await fetch(...request);
      if (response.status === 429) {
        refused.push({ at: Date.now(), retryAfterMs: Number(response.headers.get("retry-after")) * 1000 });
      }
      return response;
    },
  });
  // One at a time, faster than the bucket refills.
  for (let calls = 0; calls < 500 && refused.length === 0; calls++) await openai.models.list();
  const [first] = refused;
  assert(first !== undefined && first.nextAt !== undefined, "it was never limited");
  assert(
    first.retryAfterMs > 0 && first.nextAt - first.at >= first.retryAfterMs - 100,
    JSON.stringify(first),
  );
});

Deno.test("many isolates together enforce one limit", async () => {
  const user = await limited(100);
  const apps = Array.from({ length: 5 }, () => isolate(shared.db));
  const found = await Promise.all(
    Array.from({ length: 300 }, async (_, i) => (await apps[i % 5]?.fetch(request(user)))?.status),
  );
  const through = found.filter((status) => status === 200).length;
  // Tokens refilled during the run, and tokens that isolates took but did not use.
  assert(through <= 105 && through >= 80, `${through} of 300 went through`);
  assert(found.every((status) => status === 200 || status === 429));
});

Deno.test("a busy caller causes one database call per many requests", async () => {
  const user = await tunebase.user();
  const questions: string[] = [];
  const app = isolate({
    ...shared.db,
    value: (text, parameters) => {
      if (text.includes("tunebase_internal.take_rate_limit_tokens")) questions.push(text);
      return shared.db.value(text, parameters);
    },
  });
  const statuses = new Set<number>();
  for (let i = 0; i < 1000; i++) statuses.add((await app.fetch(request(user))).status);
  assertEquals([...statuses], [200]);
  assert(questions.length <= 15, `${questions.length} questions for 1,000 requests`);
});

Deno.test("unauthenticated requests are rejected first", async () => {
  const response = await fetch(`${tunebase.url}/functions/v1/tunebase/projects`, {
    method: "POST",
    body: "{",
    headers: { authorization: "Bearer tb_unknown" },
  });
  assertEquals([response.status, (await response.json()).error.code], [401, "invalid_api_key"]);
});
