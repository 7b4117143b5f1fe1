/** The project's members and pending invitations. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { roles } from "../../../../supabase/functions/_shared/contracts/statuses.ts";
import { useApiMutation, usePaginated } from "../../lib/queries.ts";
import { getServices, selectProject } from "../../lib/services.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { Time } from "../../ui/display.tsx";
import { ErrorMessage, QueryBoundary } from "../../ui/feedback.tsx";
import { Field, Form } from "../../ui/forms.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";

type Role = typeof roles[number];
const asRole = (text: string): Role => roles.find((role) => role === text) ?? "viewer";

export function Members({ projectId, isOwner, userId }: {
  projectId: string;
  isOwner: boolean;
  userId: string | null;
}) {
  const members = usePaginated(["members", projectId], async (after) =>
    unwrap(
      await getServices().api.GET("/projects/{id}/members", {
        params: {
          path: { id: projectId },
          query: { ...(after ? { after } : {}) },
        },
      }),
    ));
  return (
    <>
      <h2>Members</h2>
      <QueryBoundary query={members} what="members">
        {(list) => (
          <>
            <Table label="Members" columns={["Member", "Role", "Added", ""]}>
              {list.map((member) => (
                <MemberRow
                  key={member.id}
                  member={member}
                  projectId={projectId}
                  isOwner={isOwner}
                  isSelf={member.id === userId}
                />
              ))}
            </Table>
            <LoadMore query={members} />
          </>
        )}
      </QueryBoundary>
      {isOwner && <Invitations projectId={projectId} />}
    </>
  );
}

function MemberRow({ member, projectId, isOwner, isSelf }: {
  member: Schemas["ProjectMember"];
  projectId: string;
  isOwner: boolean;
  isSelf: boolean;
}) {
  const params = { path: { id: projectId, user_id: member.id } };
  const invalidates = [["members", projectId], ["me"]];
  const changeRole = useApiMutation<unknown, Role>(
    async (role) =>
      unwrap(
        await getServices().api.POST("/projects/{id}/members/{user_id}", {
          params,
          body: { role },
        }),
      ),
    invalidates,
  );
  const remove = useApiMutation(async () => {
    unwrap(
      await getServices().api.DELETE("/projects/{id}/members/{user_id}", {
        params,
      }),
    );
    if (!isSelf) return;
    selectProject(null);
    location.reload();
  }, invalidates);
  const name = member.email ?? member.id;
  return (
    <tr>
      <th scope="row">
        {name}
        {isSelf && (
          <>
            {" "}
            <span class="quiet">(you)</span>
          </>
        )}
      </th>
      <td>
        {isOwner
          ? (
            <select
              aria-label={`Role of ${name}`}
              value={member.role}
              disabled={changeRole.isPending}
              onChange={(event) => changeRole.mutate(asRole(event.currentTarget.value))}
            >
              {roles.map((role) => <option key={role}>{role}</option>)}
            </select>
          )
          : member.role}
        {changeRole.error && <ErrorMessage error={changeRole.error} />}
      </td>
      <td>
        <Time at={member.added_at} />
      </td>
      <td>
        {(isOwner || isSelf) && (
          <ActionButton
            mutation={{ ...remove, mutate: () => remove.mutate() }}
            label={isSelf ? "Leave" : "Remove"}
            danger
            confirmation={isSelf
              ? {
                text: "You lose access until an owner invites you again.",
                confirm: "Leave project",
              }
              : {
                text: `${name} loses access. API keys that they created keep working.`,
                confirm: "Remove member",
              }}
          />
        )}
      </td>
    </tr>
  );
}

function Invitations({ projectId }: { projectId: string }) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("developer");
  const invitations = useQuery({
    queryKey: ["invitations", projectId],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/projects/{id}/invitations", {
          params: { path: { id: projectId } },
        }),
      ).data,
  });
  const invite = useApiMutation(async () => {
    unwrap(
      await getServices().api.POST("/projects/{id}/members", {
        params: { path: { id: projectId } },
        body: { email, role },
      }),
    );
    setEmail("");
  }, [["invitations", projectId]]);
  const revoke = useApiMutation<unknown, string>(
    async (invitation_id) =>
      unwrap(
        await getServices().api.DELETE(
          "/projects/{id}/invitations/{invitation_id}",
          {
            params: { path: { id: projectId, invitation_id } },
          },
        ),
      ),
    [["invitations", projectId]],
  );
  return (
    <>
      <Form mutation={invite} title="Invite a member" submit="Send invitation">
        <div class="fields">
          <Field
            label="Email"
            hint="They can accept the invitation here after signing in with this address."
          >
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
      {(invitations.data?.length ?? 0) > 0 && (
        <Table
          label="Pending invitations"
          columns={["Email", "Role", "Expires", ""]}
        >
          {invitations.data?.map((invitation) => (
            <tr key={invitation.id}>
              <th scope="row">{invitation.email}</th>
              <td>{invitation.role}</td>
              <td>
                <Time at={invitation.expires_at} />
              </td>
              <td>
                <button
                  type="button"
                  class="small"
                  aria-label={`Revoke the invitation of ${invitation.email}`}
                  onClick={() => revoke.mutate(invitation.id)}
                >
                  Revoke
                </button>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {revoke.error && <ErrorMessage error={revoke.error} />}
    </>
  );
}
