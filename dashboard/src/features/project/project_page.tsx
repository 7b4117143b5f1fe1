/** The project page: invitations, the current project with its members, and creating a project. */
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { useApiMutation, useMe } from "../../lib/queries.ts";
import { getServices, selectProject } from "../../lib/services.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Field, Form } from "../../ui/forms.tsx";
import { Page } from "../../ui/page.tsx";
import { ProjectDetails } from "./project_details.tsx";

export function ProjectPage() {
  const me = useMe();
  const title = me.data?.project === null ? "No project yet" : me.data?.project?.name ?? "Project";
  return (
    <Page title={title}>
      <QueryBoundary query={me} what="the project">
        {(me) => (
          <>
            {me.invitations.map((invitation) => <Invitation key={invitation.id} invitation={invitation} />)}
            {me.project && (
              <ProjectDetails
                key={me.project.id}
                id={me.project.id}
                userId={me.user?.id ?? null}
              />
            )}
            {me.project === null && me.invitations.length === 0 && <NoProject me={me} />}
            {me.can_create_project && (
              <CreateProject
                title={me.project === null ? "Create your project" : "Create another project"}
              />
            )}
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}

/** For a user of the host app who neither owns a project nor has an invitation. */
function NoProject({ me }: { me: Schemas["Me"] }) {
  if (me.can_create_project) {
    return (
      <p>
        A project holds your jobs, files, API keys and members. Create one to get started.
      </p>
    );
  }
  return (
    <EmptyState title="You need an invitation">
      <p>
        Signing up doesn't give you access to a project. Ask a project owner to invite{" "}
        <strong>{me.user?.email}</strong>, or ask the operator of this installation to create a project for
        you:
      </p>
      <pre>task operator owner {me.user?.email}</pre>
    </EmptyState>
  );
}

function Invitation(
  { invitation }: { invitation: Schemas["ProjectInvitation"] },
) {
  const params = { path: { id: invitation.id } };
  const invalidates = [["me"], ["projects"]];
  const accept = useApiMutation(async () => {
    unwrap(
      await getServices().api.POST("/invitations/{id}/accept", { params }),
    );
    selectProject(invitation.project_id);
    location.reload();
  }, invalidates);
  const decline = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.POST("/invitations/{id}/decline", { params }),
      ),
    invalidates,
  );
  return (
    <div class="notice">
      <p>
        You're invited to join <strong>{invitation.project_name ?? invitation.project_id}</strong> as{" "}
        {invitation.role}. The invitation expires <Time at={invitation.expires_at} />.
      </p>
      <div class="actions">
        <ActionButton mutation={accept} label="Accept" primary />
        <ActionButton mutation={decline} label="Decline" />
      </div>
    </div>
  );
}

function CreateProject({ title }: { title: string }) {
  const [name, setName] = useState("");
  const create = useApiMutation(async () => {
    const { id } = unwrap(
      await getServices().api.POST("/projects", { body: { name } }),
    );
    selectProject(id);
    location.reload();
  });
  return (
    <Form mutation={create} title={title} submit="Create project">
      <Field
        label="Name"
        hint="Each project has its own jobs, files, API keys and members."
      >
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
