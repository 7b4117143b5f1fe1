/** Scenarios of projects, members, invitations, API keys and idempotency keys. */
import { assert, assertEquals } from "#assert";
import type { TestUser } from "../support/test_server.ts";
import type { CrashHarness } from "./harness.ts";
import type { Run } from "./scenario.ts";

type Body = Record<string, unknown> & { id: string };

/** A user of the harness who retries requests without an answer. */
class Person {
  private constructor(readonly harness: CrashHarness, readonly user: TestUser, readonly project: string) {}

  static async join(harness: CrashHarness): Promise<Person> {
    const user = await harness.tunebase.user(`${crypto.randomUUID()}@example.com`);
    return new Person(harness, user, `/projects/proj_${user.projectId.replaceAll("-", "")}`);
  }

  /** Returns the first answer that is 200, 202 or one of `done`, the statuses after an earlier try had succeeded. */
  async call(method: string, path: string, body?: unknown, key?: string, done: number[] = []): Promise<Body> {
    for (let tries = 0; tries < 5; tries++) {
      const response = await fetch(`${this.harness.url}/functions/v1/tunebase${path}`, {
        method,
        headers: {
          authorization: `Bearer ${this.user.accessToken}`,
          ...(key === undefined ? {} : { "idempotency-key": key }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const answer = await response.json();
      if (response.ok || done.includes(response.status)) return answer;
      if (answer.error?.code === "idempotency_key_in_use") {
        // The holder of the idempotency key has died; its lease expires after a minute.
        await this.harness.tunebase
          .sql`update tunebase_internal.idempotency_keys set locked_until = now() where answer is null and resource_id is null`;
      } else assertEquals(response.status, 503, JSON.stringify(answer));
    }
    throw new Error(`${method} ${path} was never answered`);
  }

  async listed(path: string): Promise<Body[]> {
    const { data } = await this.call("GET", path);
    return data as Body[];
  }
}

/** An owner and a user they invited, with the invitation accepted or not. */
async function pair(harness: CrashHarness, accept: boolean) {
  const [owner, guest] = [await Person.join(harness), await Person.join(harness)];
  const [row] = await harness.tunebase.sql`select email from auth.users where id = ${guest.user.id}`;
  const asked = { email: row?.email, role: "viewer" };
  const invitation = await owner.call("POST", `${owner.project}/members`, asked);
  if (accept) await guest.call("POST", `/invitations/${invitation.id}/accept`);
  const member = `${owner.project}/members/user-${guest.user.id.replaceAll("-", "")}`;
  return { owner, guest, invitation, member };
}

export const tenancyApi: Record<string, Run> = {
  // With a key, the client gets the same answer for every retry. An unreported duplicate may exist: see
  // docs/security.md.
  "a project is created with an idempotency key": async (harness, arm) => {
    const [person, key] = [await Person.join(harness), crypto.randomUUID()];
    await arm();
    const made = await person.call("POST", "/projects", { name: "new" }, key);
    const again = await person.call("POST", "/projects", { name: "new" }, key);
    assertEquals(again.id, made.id);
    return (await person.call("GET", `/projects/${made.id}`)).name;
  },
  "a project is changed": async (harness, arm) => {
    const { call, project } = await bound(harness);
    await arm();
    await call("POST", project, { name: "changed", limits: { spent_usd: 5 } });
    const { name, limits } = await call("GET", project);
    return [name, limits];
  },
  "a project is archived": async (harness, arm) => {
    const { call, project } = await bound(harness);
    await arm();
    await call("POST", `${project}/archive`);
    return (await call("GET", project)).status;
  },
  "a member is invited": async (harness, arm) => {
    const { call, listed, project } = await bound(harness);
    await arm();
    await call("POST", `${project}/members`, { email: "a@elsewhere.example", role: "viewer" });
    return (await listed(`${project}/invitations`)).map(({ email }) => email);
  },
  "an invitation is revoked": async (harness, arm) => {
    const { owner, invitation } = await pair(harness, false);
    await arm();
    await owner.call("DELETE", `${owner.project}/invitations/${invitation.id}`, undefined, undefined, [404]);
    return await owner.listed(`${owner.project}/invitations`);
  },
  "an invitation is accepted": async (harness, arm) => {
    const { owner, guest, invitation } = await pair(harness, false);
    await arm();
    await guest.call("POST", `/invitations/${invitation.id}/accept`, undefined, undefined, [404]);
    return (await owner.listed(`${owner.project}/members`)).map(({ role }) => role);
  },
  "a member's role is changed": async (harness, arm) => {
    const { owner, member } = await pair(harness, true);
    await arm();
    await owner.call("POST", member, { role: "developer" });
    return (await owner.listed(`${owner.project}/members`)).map(({ role }) => role);
  },
  "a member is removed": async (harness, arm) => {
    const { owner, member } = await pair(harness, true);
    await arm();
    await owner.call("DELETE", member, undefined, undefined, [404]);
    return (await owner.listed(`${owner.project}/members`)).map(({ role }) => role);
  },
  "an API key is created with an idempotency key": async (harness, arm) => {
    const [person, key] = [await Person.join(harness), crypto.randomUUID()];
    await arm();
    const made = await person.call("POST", "/api_keys", { name: "new" }, key);
    const again = await person.call("POST", "/api_keys", { name: "new" }, key);
    assertEquals(again, made, "the same secret");
    const opens = await fetch(`${harness.url}/functions/v1/tunebase/me`, {
      headers: { authorization: `Bearer ${made.key}` },
    });
    await opens.body?.cancel();
    return opens.status;
  },
  "an API key is changed": async (harness, arm) => {
    const { call } = await bound(harness);
    const { id } = await call("POST", "/api_keys", { name: "old" });
    await arm();
    await call("POST", `/api_keys/${id}`, { name: "new", scopes: ["jobs:read"] });
    const { name, scopes } = await call("GET", `/api_keys/${id}`);
    return [name, scopes];
  },
  "an API key is revoked": async (harness, arm) => {
    const { call } = await bound(harness);
    const { id } = await call("POST", "/api_keys", { name: "old" });
    await arm();
    await call("DELETE", `/api_keys/${id}`);
    return (await call("GET", `/api_keys/${id}`)).revoked_at !== null;
  },
};

export const tenancyScheduler: Record<string, Run> = {
  "old idempotency keys are pruned": async (harness, arm) => {
    const person = await Person.join(harness);
    await person.call("POST", "/projects", { name: "old" }, crypto.randomUUID());
    await harness.tunebase
      .sql`update tunebase_internal.idempotency_keys set created_at = now() - interval '25 hours'`;
    assert(await harness.count("tunebase_internal.idempotency_keys") > 0);
    await arm();
    await harness.tick();
    await harness.tick(); // the timer comes again
    return await harness.count("tunebase_internal.idempotency_keys");
  },
};

/** A user's methods by name. */
async function bound(harness: CrashHarness) {
  const person = await Person.join(harness);
  return { project: person.project, call: person.call.bind(person), listed: person.listed.bind(person) };
}
