/** The project: its name and limits, who is in it, who is invited; one's own invitations; another project, or none yet. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../client/mod.ts";
import { useChange, useMay, useMe, usePages } from "../data.ts";
import { bytes, usd } from "../format.ts";
import { chooseProject, use } from "../services.ts";
import { Action, Form } from "../ui/actions.tsx";
import { Empty, Facts, Field, Loaded, More, Page, Problem, Status, Table, Time } from "../ui/basics.tsx";

const roles = ["viewer", "developer", "owner"] as const;
type Role = typeof roles[number];
const asRole = (text: string): Role => roles.find((role) => role === text) ?? "viewer";

export function ProjectPage() {
  const me = useMe();
  return (
    <Page title={me.data?.project === null ? "You are in no project" : me.data?.project?.name ?? "Project"}>
      <Loaded of={me}>
        {(me) => (
          <>
            {me.invitations.map((invitation) => <Invited key={invitation.id} of={invitation} />)}
            {me.project && <Inside key={me.project.id} id={me.project.id} self={me.user?.id ?? null} />}
            {me.project === null && me.invitations.length === 0 && <NoProject of={me} />}
            {me.can_create_project && (
              <NewProject title={me.project === null ? "Your project" : "Another project"} />
            )}
          </>
        )}
      </Loaded>
    </Page>
  );
}

/** What a user of the host app does who was neither named an owner nor invited. */
function NoProject({ of }: { of: Schemas["Me"] }) {
  if (of.can_create_project) return <p>Make a project for your jobs and files.</p>;
  return (
    <Empty>
      <p>
        New users get no project by themselves. Ask an owner of a project to invite{" "}
        <strong>{of.user?.email}</strong>, or the operator of this installation to give you a project:
      </p>
      <pre>task operator owner {of.user?.email}</pre>
    </Empty>
  );
}

function Invited({ of }: { of: Schemas["ProjectInvitation"] }) {
  const params = { path: { id: of.id } };
  const stale = [["me"], ["projects"]];
  const accept = useChange(async () => {
    unwrap(await use().api.POST("/invitations/{id}/accept", { params }));
    chooseProject(of.project_id);
    location.reload();
  }, stale);
  const decline = useChange(
    async () => unwrap(await use().api.POST("/invitations/{id}/decline", { params })),
    stale,
  );
  return (
    <div class="notice">
      <p>
        You are invited to <strong>{of.project_name ?? of.project_id}</strong> as {of.role}, until{" "}
        <Time at={of.expires_at} />.
      </p>
      <div class="actions">
        <Action of={accept} label="Accept" primary />
        <Action of={decline} label="Decline" />
      </div>
    </div>
  );
}

function Inside({ id, self }: { id: string; self: string | null }) {
  const admin = useMay("project:admin");
  const project = useQuery({
    queryKey: ["project", id],
    queryFn: async () => unwrap(await use().api.GET("/projects/{id}", { params: { path: { id } } })),
  });
  return (
    <>
      <Loaded of={project}>
        {(project) => (
          <section aria-label="Limits">
            <Facts
              of={[
                ["State", <Status key="s" of={project.status} />],
                ["Your role", project.role ?? "–"],
                ["Running at once", `${project.use?.running ?? 0} of ${project.limits.running}`],
                ["Jobs not ended", against(String(project.use?.jobs ?? 0), project.limits.jobs, String)],
                [
                  "Storage",
                  against(bytes(project.use?.storage_bytes ?? 0), project.limits.storage_bytes, bytes),
                ],
                [
                  "Spent this month",
                  against(usd(project.use?.spent_usd ?? 0), project.limits.spent_usd, usd),
                ],
              ]}
            />
            {admin && <Change key={project.id} of={project} />}
          </section>
        )}
      </Loaded>
      <Members id={id} admin={admin} self={self} />
    </>
  );
}

/** `3 of 1000`, or `3, no limit`. */
const against = (used: string, limit: number | null, show: (value: number) => string) =>
  limit === null ? `${used}, no limit` : `${used} of ${show(limit)}`;

function Change({ of }: { of: Schemas["Project"] }) {
  const [name, setName] = useState(of.name);
  const [running, setRunning] = useState(String(of.limits.running));
  const [cap, setCap] = useState(of.limits.spent_usd === null ? "" : String(of.limits.spent_usd));
  const save = useChange(async () =>
    unwrap(
      await use().api.POST("/projects/{id}", {
        params: { path: { id: of.id } },
        body: { name, limits: { running: Number(running), spent_usd: cap === "" ? null : Number(cap) } },
      }),
    ), [["project", of.id], ["projects"], ["me"]]);
  return (
    <details>
      <summary>Change the name and limits</summary>
      <Form of={save} label="Save">
        <div class="fields">
          <Field label="Project name">
            {(control) => (
              <input
                {...control}
                required
                maxLength={100}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            )}
          </Field>
          <Field label="Running at once">
            {(control) => (
              <input
                {...control}
                type="number"
                min={0}
                max={1000}
                required
                value={running}
                onInput={(event) => setRunning(event.currentTarget.value)}
              />
            )}
          </Field>
          <Field
            label="Spend at most a month, in USD"
            hint="Empty is no cap. Running jobs are ended at the cap."
          >
            {(control) => (
              <input
                {...control}
                type="number"
                min={0.0001}
                step="any"
                value={cap}
                onInput={(event) => setCap(event.currentTarget.value)}
              />
            )}
          </Field>
        </div>
      </Form>
    </details>
  );
}

function Members({ id, admin, self }: { id: string; admin: boolean; self: string | null }) {
  const members = usePages(["members", id], async (after) =>
    unwrap(
      await use().api.GET("/projects/{id}/members", {
        params: { path: { id }, query: { ...(after ? { after } : {}) } },
      }),
    ));
  return (
    <>
      <h2>Members</h2>
      <Loaded of={members}>
        {(list) => (
          <>
            <Table label="Members" head={["Who", "Role", "Since", ""]}>
              {list.map((member) => (
                <Member key={member.id} of={member} projectId={id} admin={admin} self={member.id === self} />
              ))}
            </Table>
            <More of={members} />
          </>
        )}
      </Loaded>
      {admin && <Invitations id={id} />}
    </>
  );
}

function Member({ of, projectId, admin, self }: {
  of: Schemas["ProjectMember"];
  projectId: string;
  admin: boolean;
  self: boolean;
}) {
  const params = { path: { id: projectId, user_id: of.id } };
  const stale = [["members", projectId], ["me"]];
  const change = useChange<unknown, Role>(
    async (role) =>
      unwrap(await use().api.POST("/projects/{id}/members/{user_id}", { params, body: { role } })),
    stale,
  );
  const remove = useChange(async () => {
    unwrap(await use().api.DELETE("/projects/{id}/members/{user_id}", { params }));
    if (!self) return;
    chooseProject(null);
    location.reload();
  }, stale);
  return (
    <tr>
      <th scope="row">
        {of.email ?? of.id}
        {self && <span class="quiet">, you</span>}
      </th>
      <td>
        {admin
          ? (
            <select
              aria-label={`Role of ${of.email}`}
              value={of.role}
              disabled={change.isPending}
              onChange={(event) => change.mutate(asRole(event.currentTarget.value))}
            >
              {roles.map((role) => <option key={role}>{role}</option>)}
            </select>
          )
          : of.role}
        {change.error && <Problem error={change.error} />}
      </td>
      <td>
        <Time at={of.added_at} />
      </td>
      <td>
        {(admin || self) && (
          <Action
            of={{ ...remove, mutate: () => remove.mutate() }}
            label={self ? "Leave" : "Remove"}
            danger
            ask={self ? "Leave this project?" : `Remove ${of.email}? Keys that they made stay.`}
          />
        )}
      </td>
    </tr>
  );
}

function Invitations({ id }: { id: string }) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("developer");
  const open = useQuery({
    queryKey: ["invitations", id],
    queryFn: async () =>
      unwrap(await use().api.GET("/projects/{id}/invitations", { params: { path: { id } } })).data,
  });
  const invite = useChange(async () => {
    unwrap(
      await use().api.POST("/projects/{id}/members", { params: { path: { id } }, body: { email, role } }),
    );
    setEmail("");
  }, [["invitations", id]]);
  const takeBack = useChange<unknown, string>(
    async (invitation_id) =>
      unwrap(
        await use().api.DELETE("/projects/{id}/invitations/{invitation_id}", {
          params: { path: { id, invitation_id } },
        }),
      ),
    [["invitations", id]],
  );
  return (
    <>
      <Form of={invite} title="Invite somebody" label="Invite">
        <div class="fields">
          <Field label="E-mail" hint="They accept it here, signed in with this address.">
            {(control) => (
              <input
                {...control}
                type="email"
                required
                value={email}
                onInput={(event) => setEmail(event.currentTarget.value)}
              />
            )}
          </Field>
          <Field label="Role">
            {(control) => (
              <select
                {...control}
                value={role}
                onChange={(event) => setRole(asRole(event.currentTarget.value))}
              >
                {roles.map((role) => <option key={role}>{role}</option>)}
              </select>
            )}
          </Field>
        </div>
      </Form>
      {(open.data?.length ?? 0) > 0 && (
        <Table label="Open invitations" head={["Invited", "Role", "Until", ""]}>
          {open.data?.map((one) => (
            <tr key={one.id}>
              <th scope="row">{one.email}</th>
              <td>{one.role}</td>
              <td>
                <Time at={one.expires_at} />
              </td>
              <td>
                <button
                  type="button"
                  class="small"
                  onClick={() => takeBack.mutate(one.id)}
                >
                  Take back
                </button>
              </td>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}

function NewProject({ title }: { title: string }) {
  const [name, setName] = useState("");
  const create = useChange(async () => {
    const { id } = unwrap(await use().api.POST("/projects", { body: { name } }));
    chooseProject(id);
    location.reload();
  });
  return (
    <Form of={create} title={title} label="Make it">
      <Field label="Name" hint="Jobs, files, keys and members of their own.">
        {(control) => (
          <input
            {...control}
            required
            maxLength={100}
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        )}
      </Field>
    </Form>
  );
}
