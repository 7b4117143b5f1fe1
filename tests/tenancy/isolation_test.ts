/**
 * Resources of another project are indistinguishable from missing ones, on every route that the API declares. A new route
 * with an id needs an entry in `things` here, or this test fails.
 */
import { assert, assertEquals } from "#assert";
import { prefixes } from "../../supabase/functions/tunebase/ids.ts";
import { allRoutes } from "../../supabase/functions/tunebase/routes/index.ts";
import { createOneOfEverything } from "../support/fixtures.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;

const nobodys: Record<string, string> = {
  files: prefixes.file,
  overlap: prefixes.file,
  jobs: prefixes.job,
  models: "no-such-model-",
  completions: prefixes.completion,
  projects: prefixes.project,
  members: prefixes.user,
  invitations: prefixes.invitation,
  api_keys: prefixes.apiKey,
  uploads: prefixes.upload,
  direct: prefixes.upload,
  checkpoints: prefixes.checkpoint,
  evaluations: prefixes.evaluation,
  webhook_endpoints: prefixes.webhookEndpoint,
  webhook_deliveries: prefixes.webhookDelivery,
  notifications: prefixes.notification,
  notification_channels: prefixes.notificationChannel,
};
for (const [name, prefix] of Object.entries(nobodys)) nobodys[name] = prefix + "0123456789abcdef".repeat(2);

/** Valid bodies, so that only the id can be the reason for rejection. */
const bodies: Record<string, unknown> = {
  "POST /projects/:id": { name: "x" },
  "POST /projects/:id/members": { email: "x@example.com", role: "viewer" },
  "POST /projects/:id/members/:user_id": { role: "viewer" },
  "POST /api_keys/:id": { name: "x" },
  "POST /uploads/:id/complete": { part_ids: [`${prefixes.part}${"0".repeat(32)}`] },
  "POST /webhook_endpoints/:id": { name: "x" },
  "POST /webhook_endpoints/:id/test": { event_type: "fine_tuning.job.succeeded" },
  "POST /webhook_endpoints/:id/replay": { since: Math.floor(Date.now() / 1000) - 60 },
  "POST /notification_channels/:id": { enabled: false },
};

const [ada, bob] = [await tunebase.user(), await tunebase.user()];
const [adas, bobs] = [await createOneOfEverything(tunebase, ada), await createOneOfEverything(tunebase, bob)];
const routes = (await allRoutes()).filter(({ path }) => path.includes("{"))
  .map(({ method, path }) => ({ method, path: path.replace(/\{(\w+)\}/g, ":$1") }));

/** The route's path with the ids of `things` for its parameters. */
function fill(path: string, ...things: Record<string, string>[]): string {
  let place = 0;
  return path.replace(/([a-z_]+)\/:[a-z_]+/g, (_, segment: string) => {
    const thing = things[Math.min(place++, things.length - 1)]?.[segment];
    assert(
      thing !== undefined,
      `tests/tenancy/isolation_test.ts has no id for ${segment}/: of ${path}: add one`,
    );
    return `${segment}/${encodeURIComponent(thing)}`;
  });
}

async function call(user: TestUser, credential: string, method: string, path: string, body: unknown) {
  const response = await user.fetch(path, {
    method,
    headers: { authorization: `Bearer ${credential}` },
    ...(method === "POST" ? { body: JSON.stringify(body ?? {}) } : {}),
  });
  const text = await response.text();
  const headers = [...response.headers].filter(([name]) =>
    !/^(x-request-id|ratelimit|date|content-length)$/.test(name)
  );
  return { status: response.status, headers, text };
}

Deno.test("every route with ids is tested with existing ids", async () => {
  assert(routes.length >= 20, `${routes.length} routes`);
  for (const { method, path } of routes) {
    if (method !== "GET" || path === "/models/:id") continue;
    const { status } = await call(ada, ada.accessToken, method, fill(path, adas), null);
    assertEquals(status, 200, path);
  }
});

for (const { method, path } of routes) {
  Deno.test(`${method} ${path} gives the same answer for another project's id and an unknown id`, async () => {
    const body = bodies[`${method} ${path}`];
    const nested = (path.match(/:/g) ?? []).length > 1;
    // A foreign resource, and a foreign resource below an own one.
    const cases = [[[adas], [nobodys]], ...(nested ? [[[bobs, adas], [bobs, nobodys]]] : [])];
    for (const [theirs = [], none = []] of cases) {
      for (const credential of [bob.accessToken, bob.apiKey]) {
        const [said, expected] = await Promise.all([theirs, none].map(async (things) => {
          const answer = await call(bob, credential, method, fill(path, ...things), body);
          const ids = Object.values(Object.assign({}, ...things.toReversed()) as Record<string, string>);
          const plain = ids.reduce((text, id) => text.replaceAll(id, "ID"), answer.text);
          return { ...answer, text: plain.replace(/"request_id":"[^"]+"/, "") };
        }));
        assertEquals(said, expected);
        const forPeople = said?.text.includes("user_token_required") ?? false;
        assertEquals(said?.status, forPeople ? 403 : 404, said?.text);
        assert(!forPeople || credential === bob.apiKey);
      }
    }
  });
}

Deno.test("none of the owner's resources changed", async () => {
  for (const { method, path } of routes) {
    if (method !== "GET" || path === "/models/:id") continue;
    assertEquals((await call(ada, ada.accessToken, method, fill(path, adas), null)).status, 200, path);
  }
  const [row] = await sql`select name, archived_at from tunebase.projects where id = ${ada.projectId}`;
  assertEquals([row?.name, row?.archived_at], ["user1", null]);
});

Deno.test("lists exclude other projects and reject their cursors", async () => {
  for (
    const [list, cursor] of [
      ["/files", "files"],
      ["/fine_tuning/jobs", "jobs"],
      ["/api_keys", "api_keys"],
      ["/webhook_endpoints", "webhook_endpoints"],
      ["/webhook_deliveries", "webhook_deliveries"],
      ["/notifications", "notifications"],
      ["/notification_channels", "notification_channels"],
      [
        "/projects",
        "",
      ],
    ]
  ) {
    const { text } = await call(bob, bob.accessToken, "GET", list ?? "", null);
    for (const id of Object.values(adas)) assert(!text.includes(id), `${list} shows ${id}`);
    if (!cursor) continue;
    const [theirs, none] = await Promise.all(
      [adas, nobodys].map((things) =>
        call(bob, bob.accessToken, "GET", `${list}?after=${things[cursor]}`, null)
      ),
    );
    assertEquals([theirs?.status, none?.status], [400, 400], list);
  }
});
