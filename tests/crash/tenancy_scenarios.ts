/** What concerns those who share a project: projects, members, invitations, API keys; and what is kept of requests. */
import { assert, assertEquals } from "#assert";
import type { TestUser } from "../support/test_server.ts";
import type { Lane } from "./harness.ts";
import type { Run } from "./scenario.ts";

type Body = Record<string, unknown> & { id: string };

/** A person at the lane's address, who sends again what was not answered, as a person does. */
class Person {
  private constructor(readonly lane: Lane, readonly user: TestUser, readonly project: string) {}

  static async join(lane: Lane): Promise<Person> {
    const user = await lane.tunebase.user(`${crypto.randomUUID()}@example.com`);
    return new Person(lane, user, `/projects/proj_${user.projectId.replaceAll("-", "")}`);
  }

  /** Answers with the first that is 200 or 202, or one of `done`: what an earlier try of it may have brought about. */
  async call(method: string, path: string, body?: unknown, key?: string, done: number[] = []): Promise<Body> {
    for (let tries = 0; tries < 5; tries++) {
      const response = await fetch(`${this.lane.url}/functions/v1/tunebase${path}`, {
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
        // Whoever held it has died; their minute goes by.
        await this.lane.tunebase
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

/** An owner, and somebody whom they have invited, accepted or not. */
async function pair(lane: Lane, accept: boolean) {
  const [owner, guest] = [await Person.join(lane), await Person.join(lane)];
  const [row] = await lane.tunebase.sql`select email from auth.users where id = ${guest.user.id}`;
  const asked = { email: row?.email, role: "viewer" };
  const invitation = await owner.call("POST", `${owner.project}/members`, asked);
  if (accept) await guest.call("POST", `/invitations/${invitation.id}/accept`);
  const member = `${owner.project}/members/user-${guest.user.id.replaceAll("-", "")}`;
  return { owner, guest, invitation, member };
}

export const tenancyApi: Record<string, Run> = {
  // With a key, the client gets one answer however often it asks. A twin that nobody was told of may be there: see
  // docs/security.md.
  "a project is created with an idempotency key": async (lane, doom) => {
    const [person, key] = [await Person.join(lane), crypto.randomUUID()];
    await doom();
    const made = await person.call("POST", "/projects", { name: "new" }, key);
    const again = await person.call("POST", "/projects", { name: "new" }, key);
    assertEquals(again.id, made.id);
    return (await person.call("GET", `/projects/${made.id}`)).name;
  },
  "a project is changed": async (lane, doom) => {
    const { call, project } = await bound(lane);
    await doom();
    await call("POST", project, { name: "changed", limits: { spent_usd: 5 } });
    const { name, limits } = await call("GET", project);
    return [name, limits];
  },
  "a project is archived": async (lane, doom) => {
    const { call, project } = await bound(lane);
    await doom();
    await call("POST", `${project}/archive`);
    return (await call("GET", project)).status;
  },
  "a member is invited": async (lane, doom) => {
    const { call, listed, project } = await bound(lane);
    await doom();
    await call("POST", `${project}/members`, { email: "a@elsewhere.example", role: "viewer" });
    return (await listed(`${project}/invitations`)).map(({ email }) => email);
  },
  "an invitation is taken back": async (lane, doom) => {
    const { owner, invitation } = await pair(lane, false);
    await doom();
    await owner.call("DELETE", `${owner.project}/invitations/${invitation.id}`, undefined, undefined, [404]);
    return await owner.listed(`${owner.project}/invitations`);
  },
  "an invitation is accepted": async (lane, doom) => {
    const { owner, guest, invitation } = await pair(lane, false);
    await doom();
    await guest.call("POST", `/invitations/${invitation.id}/accept`, undefined, undefined, [404]);
    return (await owner.listed(`${owner.project}/members`)).map(({ role }) => role);
  },
  "a member's role is changed": async (lane, doom) => {
    const { owner, member } = await pair(lane, true);
    await doom();
    await owner.call("POST", member, { role: "developer" });
    return (await owner.listed(`${owner.project}/members`)).map(({ role }) => role);
  },
  "a member is removed": async (lane, doom) => {
    const { owner, member } = await pair(lane, true);
    await doom();
    await owner.call("DELETE", member, undefined, undefined, [404]);
    return (await owner.listed(`${owner.project}/members`)).map(({ role }) => role);
  },
  "an API key is made with an idempotency key": async (lane, doom) => {
    const [person, key] = [await Person.join(lane), crypto.randomUUID()];
    await doom();
    const made = await person.call("POST", "/api_keys", { name: "new" }, key);
    const again = await person.call("POST", "/api_keys", { name: "new" }, key);
    assertEquals(again, made, "the same secret");
    const opens = await fetch(`${lane.url}/functions/v1/tunebase/me`, {
      headers: { authorization: `Bearer ${made.key}` },
    });
    await opens.body?.cancel();
    return opens.status;
  },
  "an API key is changed": async (lane, doom) => {
    const { call } = await bound(lane);
    const { id } = await call("POST", "/api_keys", { name: "old" });
    await doom();
    await call("POST", `/api_keys/${id}`, { name: "new", scopes: ["jobs:read"] });
    const { name, scopes } = await call("GET", `/api_keys/${id}`);
    return [name, scopes];
  },
  "an API key is revoked": async (lane, doom) => {
    const { call } = await bound(lane);
    const { id } = await call("POST", "/api_keys", { name: "old" });
    await doom();
    await call("DELETE", `/api_keys/${id}`);
    return (await call("GET", `/api_keys/${id}`)).revoked_at !== null;
  },
};

export const tenancyScheduler: Record<string, Run> = {
  "old requests are forgotten": async (lane, doom) => {
    const person = await Person.join(lane);
    await person.call("POST", "/projects", { name: "old" }, crypto.randomUUID());
    await lane.tunebase
      .sql`update tunebase_internal.idempotency_keys set created_at = now() - interval '25 hours'`;
    assert(await lane.count("tunebase_internal.idempotency_keys") > 0);
    await doom();
    await lane.tick();
    await lane.tick(); // the timer comes again
    return await lane.count("tunebase_internal.idempotency_keys");
  },
};

/** A person's methods, to be used by name. */
async function bound(lane: Lane) {
  const person = await Person.join(lane);
  return { project: person.project, call: person.call.bind(person), listed: person.listed.bind(person) };
}
