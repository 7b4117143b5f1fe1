/** Projects, their members and roles. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const hex = (uuid: string) => uuid.replaceAll("-", "");
const projectOf = (user: TestUser) => `proj_${hex(user.projectId)}`;
const idOf = (user: TestUser) => `user-${hex(user.id)}`;

/** Sends a request with the user's access token by default; returns status and body. */
async function as(user: TestUser, method: string, path: string, body?: unknown, headers: HeadersInit = {}) {
  const response = await user.fetch(path, {
    method,
    headers: { authorization: `Bearer ${user.accessToken}`, ...Object.fromEntries(new Headers(headers)) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}
const code = ({ status, body }: { status: number; body: { error?: { code?: string } } }) => [
  status,
  body.error?.code,
];
/** Makes `user` a member of the owner's project by invitation. */
async function join(owner: TestUser, user: TestUser, role: string): Promise<void> {
  const [{ email } = {}] = await sql`select email from auth.users where id = ${user.id}`;
  const invited = await as(owner, "POST", `/projects/${projectOf(owner)}/members`, { email, role });
  assertEquals(invited.status, 202);
  assertEquals((await as(user, "POST", `/invitations/${invited.body.id}/accept`)).status, 200);
}

Deno.test("a user has a project, can create another, and select it by header", async () => {
  const user = await tunebase.user();
  const own = await as(user, "GET", "/projects");
  assertEquals(own.body.data.map(({ id, role }: { id: string; role: string }) => [id, role]), [[
    projectOf(user),
    "owner",
  ]]);
  const made = await as(user, "POST", "/projects", { name: " Second " });
  assertEquals([made.status, made.body.name, made.body.status, made.body.limits.jobs], [
    200,
    "Second",
    "active",
    1000,
  ]);
  const listed = await as(user, "GET", "/projects?limit=1");
  assertEquals([listed.body.data[0].id, listed.body.has_more], [made.body.id, true]);
  const next = await as(user, "GET", `/projects?limit=1&after=${listed.body.last_id}`);
  assertEquals([next.body.data[0].id, next.body.has_more], [projectOf(user), false]);
  const me = await as(user, "GET", "/me", undefined, { "openai-project": made.body.id });
  assertEquals([me.body.project.id, me.body.role], [made.body.id, "owner"]);
  assertEquals((await as(user, "GET", "/me")).body.project.id, projectOf(user));
});

Deno.test("an owner can change the project's name and limits, except the operator's", async () => {
  const user = await tunebase.user();
  const path = `/projects/${projectOf(user)}`;
  const changed = await as(user, "POST", path, { name: "New", limits: { running: 2, spent_usd: 50 } });
  assertEquals([changed.body.name, changed.body.limits.running, changed.body.limits.spent_usd], [
    "New",
    2,
    50,
  ]);
  assertEquals(changed.body.use, { running: 0, jobs: 0, storage_bytes: 0, spent_usd: 0 });
  const uncapped = await as(user, "POST", path, { limits: { spent_usd: null } });
  assertEquals([uncapped.body.limits.spent_usd, uncapped.body.limits.running, uncapped.body.name], [
    null,
    2,
    "New",
  ]);
  const operators = await as(user, "POST", path, { limits: { jobs: 1_000_000 } });
  assertEquals([operators.status, operators.body.error.param], [400, "limits.jobs"]);
  for (const body of [{ name: "" }, { limits: { running: -1 } }, { limits: { spent_usd: 0 } }]) {
    assertEquals((await as(user, "POST", path, body)).status, 400);
  }
});

Deno.test("viewers read, developers write, and only owners manage", async () => {
  const [owner, developer, viewer] = [await tunebase.user(), await tunebase.user(), await tunebase.user()];
  await join(owner, developer, "developer");
  await join(owner, viewer, "viewer");
  const inProject = { "openai-project": projectOf(owner) };
  for (const user of [developer, viewer]) {
    for (const path of ["/files", "/fine_tuning/jobs", "/api_keys", "/usage", "/me"]) {
      assertEquals((await as(user, "GET", path, undefined, inProject)).status, 200, path);
    }
    assertEquals((await as(user, "GET", `/projects/${projectOf(owner)}/members`)).body.data.length, 3);
    const managing: [string, string, unknown?][] = [
      ["POST", `/projects/${projectOf(owner)}`, { name: "Mine now" }],
      ["POST", `/projects/${projectOf(owner)}/archive`],
      ["POST", `/projects/${projectOf(owner)}/members`, { email: "x@example.com", role: "owner" }],
      ["POST", `/projects/${projectOf(owner)}/members/${idOf(user)}`, { role: "owner" }],
      ["DELETE", `/projects/${projectOf(owner)}/members/${idOf(owner)}`],
      ["GET", `/projects/${projectOf(owner)}/invitations`],
      ["POST", "/api_keys", { name: "mine" }],
    ];
    for (const [method, path, body] of managing) {
      assertEquals(code(await as(user, method, path, body, inProject)), [403, "insufficient_role"], path);
    }
  }
  const job = `/fine_tuning/jobs/ftjob-${"0".repeat(32)}/cancel`;
  assertEquals(code(await as(developer, "POST", job, undefined, inProject)), [404, "job_not_found"]);
  assertEquals(code(await as(viewer, "POST", job, undefined, inProject)), [403, "insufficient_role"]);
});

Deno.test("an invitation does not reveal accounts, and only its recipient can answer it", async () => {
  const [owner, guest, stranger] = [await tunebase.user(), await tunebase.user(), await tunebase.user()];
  const [{ email } = {}] = await sql`select email from auth.users where id = ${guest.id}`;
  const path = `/projects/${projectOf(owner)}/members`;
  const known = await as(owner, "POST", path, { email: email.toUpperCase(), role: "viewer" });
  const unknown = await as(owner, "POST", path, { email: "nobody@elsewhere.example", role: "viewer" });
  const shape = ({ status, body }: typeof known) => [status, Object.keys(body), body.object, body.role];
  assertEquals(shape(known), shape(unknown));
  assertEquals(
    (await as(owner, "GET", path)).body.data.length,
    1,
    "an invitee is not a member before accepting",
  );

  assertEquals(code(await as(stranger, "POST", `/invitations/${known.body.id}/accept`)), [
    404,
    "invitation_not_found",
  ]);
  assertEquals((await as(stranger, "GET", "/invitations")).body.data, []);
  assertEquals((await as(guest, "GET", "/me")).body.invitations[0].id, known.body.id);
  await sql`update auth.users set email_confirmed_at = null where id = ${guest.id}`;
  assertEquals(
    (await as(guest, "POST", `/invitations/${known.body.id}/accept`)).status,
    404,
    "an address must be confirmed",
  );
  await sql`update auth.users set email_confirmed_at = now() where id = ${guest.id}`;
  assertEquals((await as(guest, "POST", `/invitations/${known.body.id}/accept`)).body.status, "accepted");
  assertEquals((await as(guest, "POST", `/invitations/${known.body.id}/accept`)).status, 404, "once");
  assertEquals(
    code(await as(owner, "POST", path, { email, role: "owner" })),
    [409, "member_exists"],
  );

  const waiting = await as(owner, "GET", `/projects/${projectOf(owner)}/invitations`);
  assertEquals(waiting.body.data.map(({ email }: { email: string }) => email), ["nobody@elsewhere.example"]);
  const back = `/projects/${projectOf(owner)}/invitations/${unknown.body.id}`;
  assertEquals((await as(owner, "DELETE", back)).body.deleted, true);
  assertEquals((await as(owner, "DELETE", back)).status, 404);
});

Deno.test("a project always keeps an owner under concurrent departures", async () => {
  const [first, second] = [await tunebase.user(), await tunebase.user()];
  const path = `/projects/${projectOf(first)}/members`;
  assertEquals(code(await as(first, "DELETE", `${path}/${idOf(first)}`)), [409, "last_owner"]);
  assertEquals(code(await as(first, "POST", `${path}/${idOf(first)}`, { role: "viewer" })), [
    409,
    "last_owner",
  ]);
  await join(first, second, "owner");
  const left = await Promise.all(
    [first, second].map((user) => as(user, "DELETE", `${path}/${idOf(user)}`)),
  );
  assertEquals(left.map(({ status }) => status).sort(), [200, 409]);
  const [{ owners } = {}] = await sql`select count(*)::int as owners from tunebase.project_members
    where project_id = ${first.projectId} and role = 'owner'`;
  assertEquals(owners, 1);
});

Deno.test("of two owners leaving at once, the second must stay", async () => {
  const [first, second] = [await tunebase.user(), await tunebase.user()];
  await join(first, second, "owner");
  const leave = (connection: typeof sql, user: TestUser) =>
    connection`select tunebase_internal.remove_member(
      jsonb_build_object('user_id', ${user.id}::text), ${first.projectId}, ${user.id})`;
  let waiting: Promise<string> | undefined;
  await sql.begin(async (transaction) => {
    await leave(transaction as unknown as typeof sql, first);
    waiting = leave(sql, second).then(() => "left", (error) => String(error.message));
    await new Promise((resolve) => setTimeout(resolve, 100));
  });
  assertEquals(await waiting, "last_owner");
});

Deno.test("a member can leave, and a removed member loses access immediately", async () => {
  const [owner, guest] = [await tunebase.user(), await tunebase.user()];
  const path = `/projects/${projectOf(owner)}/members/${idOf(guest)}`;
  await join(owner, guest, "viewer");
  assertEquals((await as(owner, "POST", path, { role: "developer" })).body.role, "developer");
  assertEquals((await as(guest, "DELETE", path)).status, 200);
  assertEquals(code(await as(guest, "GET", `/projects/${projectOf(owner)}`)), [404, "project_not_found"]);
  assertEquals(code(await as(owner, "DELETE", path)), [404, "member_not_found"]);
});

Deno.test("an archived project is read-only until it is restored", async () => {
  const user = await tunebase.user();
  const path = `/projects/${projectOf(user)}`;
  const file = await user.openai.files.create({
    file: new File(['{"prompt":"a","completion":"b"}\n'], "rows.jsonl"),
    purpose: "fine-tune",
  });
  const wanted = { model: "SmolLM2-135M-Instruct", training_file: file.id };
  const job = await user.openai.fineTuning.jobs.create(wanted);
  const busy = await as(user, "POST", `${path}/archive`);
  assertEquals(code(busy), [409, "project_busy"]);
  assertStringIncludes(busy.body.detail, "1 unfinished job");
  await user.openai.fineTuning.jobs.cancel(job.id);
  assertEquals((await as(user, "POST", `${path}/archive`)).body.status, "archived");
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job.id)).id, job.id);
  const refused = await user.fetch("/fine_tuning/jobs", { method: "POST", body: JSON.stringify(wanted) });
  assertEquals([refused.status, (await refused.json()).error.code], [409, "project_archived"]);
  assertEquals((await as(user, "GET", "/projects")).body.data, []);
  assertEquals((await as(user, "GET", "/projects?include_archived=true")).body.data.length, 1);
  assertEquals((await as(user, "POST", `${path}/restore`)).body.status, "active");
  await user.openai.fineTuning.jobs.create(wanted);
});

Deno.test("creating a job while archiving its project rejects one of the two", async () => {
  const user = await tunebase.user();
  const file = await user.openai.files.create({
    file: new File(['{"prompt":"a","completion":"b"}\n'], "rows.jsonl"),
    purpose: "fine-tune",
  });
  const body = JSON.stringify({ model: "SmolLM2-135M-Instruct", training_file: file.id });
  await Promise.all([
    ...Array.from({ length: 6 }, async () => {
      await (await user.fetch("/fine_tuning/jobs", { method: "POST", body })).body?.cancel();
    }),
    as(user, "POST", `/projects/${projectOf(user)}/archive`),
  ]);
  const [state] = await sql`select archived_at is not null as archived,
    (select count(*)::int from tunebase.jobs where project_id = p.id) as jobs
    from tunebase.projects p where id = ${user.projectId}`;
  assert(!state?.archived || state.jobs === 0, JSON.stringify(state));
});

Deno.test("another user's project returns 404 for users and keys", async () => {
  const [mine, theirs] = [await tunebase.user(), await tunebase.user()];
  const nowhere = `proj_${"0".repeat(32)}`;
  const calls: [string, string, unknown?][] = [
    ["GET", ""],
    ["POST", "", { name: "x" }],
    ["POST", "/archive"],
    ["GET", "/members"],
    ["POST", "/members", { email: "a@example.com", role: "owner" }],
    ["DELETE", `/members/${idOf(theirs)}`],
    ["GET", "/invitations"],
  ];
  await sql`update tunebase.api_keys set scopes = scopes || '{project:read,project:admin}'
    where project_id = ${mine.projectId}`;
  const byKey = { authorization: `Bearer ${mine.apiKey}` };
  for (const [method, rest, body] of calls) {
    for (const headers of [{}, byKey]) {
      const [theirsSaid, nobodysSaid] = await Promise.all(
        [projectOf(theirs), nowhere].map(async (id) => {
          const said = await as(mine, method, `/projects/${id}${rest}`, body, headers);
          return [said.status, { ...said.body, request_id: null }];
        }),
      );
      assertEquals(theirsSaid, nobodysSaid, `${method} ${rest}`);
      assertEquals(theirsSaid?.[0], 404);
    }
  }
});

/** Changes the operator's settings temporarily. */
async function settings(changes: Record<string, unknown>, run: () => Promise<void>): Promise<void> {
  const [{ one_row: _, ...before } = {}] = await sql`select * from tunebase_internal.settings`;
  await sql`update tunebase_internal.settings set ${sql(changes)}`;
  try {
    await run();
  } finally {
    await sql`update tunebase_internal.settings set ${sql(before)}`;
  }
}
/** A user of the host app: signed up, without a project. */
async function stranger(): Promise<TestUser> {
  const user = await tunebase.user();
  await sql`delete from tunebase.projects where id = ${user.projectId}`;
  return user;
}

Deno.test("a host app user has no access until made an owner or invited", async () => {
  const user = await stranger();
  const refused = await as(user, "POST", "/projects", { name: "mine" });
  assertEquals(code(refused), [403, "signup_closed"]);
  assertStringIncludes(refused.body.detail, "task operator owner");
  for (const path of ["/files", "/models", "/fine_tuning/jobs", "/api_keys", "/usage", "/notifications"]) {
    assertEquals((await as(user, "GET", path)).status, 404, path);
  }
  const me = await as(user, "GET", "/me");
  assertEquals([me.status, me.body.project, me.body.can_create_project], [200, null, false]);
  assertEquals(me.body.hint, refused.body.detail);

  const owner = await tunebase.user();
  await join(owner, user, "developer");
  assertEquals((await as(user, "GET", "/files")).status, 200);
  assertEquals(code(await as(user, "POST", "/projects", { name: "mine" })), [403, "signup_closed"]);

  const [{ email } = {}] = await sql`select email from auth.users where id = ${user.id}`;
  await sql`select tunebase_internal.add_owner(${email.toUpperCase()}, 'Named')`;
  await sql`select tunebase_internal.add_owner(${email}, 'Again')`;
  const own = (await as(user, "GET", "/projects")).body.data.filter(({ role }: { role: string }) =>
    role === "owner"
  );
  assertEquals(
    own.map(({ name, limits }: { name: string; limits: { spent_usd: number } }) => [
      name,
      limits.spent_usd,
    ]),
    [["Named", 50]],
  );
  assertEquals((await as(user, "POST", "/projects", { name: "mine" })).body.limits.spent_usd, 50);
});

Deno.test("the operator cannot add an owner with an unknown or unconfirmed address", async () => {
  const user = await stranger();
  const [{ email } = {}] = await sql`select email from auth.users where id = ${user.id}`;
  const name = async (address: string) =>
    String(await sql`select tunebase_internal.add_owner(${address})`.catch((error) => error.message));
  assertStringIncludes(await name("nobody@example.com"), "They must sign up first");
  await sql`update auth.users set email_confirmed_at = null where id = ${user.id}`;
  assertStringIncludes(await name(email), "has not confirmed it yet");
});

Deno.test("with open sign-up, a new user can create a project with a cap they cannot raise", async () => {
  const opened = await sql`update tunebase_internal.settings set signup = 'open'`.catch((error) =>
    error.message
  );
  assertStringIncludes(String(opened), "open_signup_needs_caps");
  await settings({ signup: "open", default_spend_cap_usd: 5, max_spend_cap_usd: 8 }, async () => {
    const user = await stranger();
    assertEquals((await as(user, "GET", "/me")).body.can_create_project, true);
    const { body } = await as(user, "POST", "/projects", { name: "mine" });
    assertEquals(body.limits.spent_usd, 5);
    const set = (spent_usd: number | null) =>
      as(user, "POST", `/projects/${body.id}`, { limits: { spent_usd } });
    for (const cap of [8.01, 1_000_000, null]) {
      const refused = await set(cap);
      assertEquals([...code(refused), refused.body.error.param], [
        403,
        "spend_cap_too_high",
        "limits.spent_usd",
      ]);
    }
    assertEquals((await set(8)).body.limits.spent_usd, 8);
    // The operator can raise the cap; an owner who changes another field sends it back unchanged.
    await sql`update tunebase.projects set spend_cap_usd = 100 where name = 'mine' and spend_cap_usd = 8`;
    assertEquals((await set(100)).body.limits.spent_usd, 100);
    assertEquals(code(await set(101)), [403, "spend_cap_too_high"]);
  });
});

Deno.test("a user can own at most 20 projects, including archived and transferred ones", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  const made: string[] = [];
  for (let i = 0; i < 19; i++) {
    const { status, body } = await as(user, "POST", "/projects", { name: `p${i}` });
    assertEquals(status, 200);
    made.push(body.id);
  }
  const more = () => as(user, "POST", "/projects", { name: "one more" });
  const refused = await more();
  assertEquals(code(refused), [403, "quota_exceeded"]);
  assertStringIncludes(refused.body.detail, "20");
  // Archived projects count, because a replacement would start with a new monthly cap.
  assertEquals((await as(user, "POST", `/projects/${made[0]}/archive`)).status, 200);
  assertEquals(code(await more()), [403, "quota_exceeded"]);
  assertEquals((await as(user, "POST", `/projects/${made[0]}/restore`)).status, 200);

  const [{ email } = {}] = await sql`select email from auth.users where id = ${user.id}`;
  const path = `/projects/${projectOf(other)}/members`;
  const invited = await as(other, "POST", path, { email, role: "owner" });
  const accept = () => as(user, "POST", `/invitations/${invited.body.id}/accept`);
  assertEquals(code(await accept()), [403, "quota_exceeded"]);
  await as(other, "POST", path, { email, role: "developer" });
  assertEquals((await accept()).status, 200, "the invitation is still there");
  assertEquals(code(await as(other, "POST", `${path}/${idOf(user)}`, { role: "owner" })), [
    403,
    "quota_exceeded",
  ]);

  const key = await user.fetch("/projects", { method: "POST", body: JSON.stringify({ name: "by key" }) });
  assertEquals([key.status, (await key.json()).error.code], [403, "user_token_required"]);
});

Deno.test("of two edits to one version, one fails with 412; an unchanged read is a 304", async () => {
  const user = await tunebase.user();
  const path = `/projects/${projectOf(user)}`;
  const read = await as(user, "GET", path);
  const etag = read.headers.get("etag") ?? "";
  assert(etag.startsWith('"1-'), etag);
  const same = await user.fetch(path, {
    headers: { authorization: `Bearer ${user.accessToken}`, "if-none-match": etag },
  });
  assertEquals([same.status, await same.text(), same.headers.get("etag")], [304, "", etag]);

  const edits = await Promise.all(
    ["a", "b"].map((name) => as(user, "POST", path, { name }, { "if-match": etag })),
  );
  assertEquals(edits.map(({ status }) => status).sort(), [200, 412]);
  const won = edits.find(({ status }) => status === 200);
  assertEquals((await as(user, "GET", path)).body.name, won?.body.name);
  const next = won?.headers.get("etag") ?? "";
  assert(next.startsWith('"2-'), next);
  assertEquals((await as(user, "POST", path, { name: "c" }, { "if-match": `W/${next}` })).status, 200);
  assertEquals((await as(user, "POST", path, { name: "d" }, { "if-match": '"nonsense"' })).status, 412);
  assertEquals((await as(user, "POST", path, { name: "d" }, { "if-match": "*" })).status, 200);
  const elsewhere = await as(user, "POST", "/projects", { name: "x" }, { "if-match": etag });
  assertEquals([elsewhere.status, elsewhere.body.error.param], [400, "if-match"]);
});
