/** GET /me: the caller, their project and their permissions. Requires no scope. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import type { ApiContext } from "../../context.ts";
import { publicId } from "../../ids.ts";
import { renderApiKey, renderInvitation, renderProject } from "../../serializers/tenancy.ts";
import { ApiKeyRow, InvitationRow, ProjectRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const Me = z.object({
  user: z.object({ id: z.string(), email: z.string().nullable() }).nullable(),
  api_key: ApiKeyRow.nullable(),
  scopes: z.array(z.string()),
  project: ProjectRow.nullable(),
  can_create_project: z.boolean(),
  invitations: z.array(InvitationRow),
});
type Me = z.infer<typeof Me>;

async function getMe(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const me = await rpc(db, "get_caller", { caller: c.get("caller") }, Me);
  return c.json({
    object: "me" as const,
    user: me.user === null ? null : { id: publicId("user", me.user.id), email: me.user.email },
    api_key: me.api_key === null ? null : renderApiKey(me.api_key),
    project: me.project === null ? null : renderProject(me.project),
    role: me.project?.role ?? null,
    scopes: me.scopes,
    can_create_project: me.can_create_project,
    hint: hint(me),
    invitations: me.invitations.map(renderInvitation),
    dashboard_url: settings.dashboardUrl,
  });
}

/** How a user without a project can get one. */
function hint(me: Me): string | null {
  if (me.project !== null) return null;
  if (me.invitations.length > 0) {
    return "You have been invited to a project. Accept with POST /invitations/{id}/accept.";
  }
  if (me.can_create_project) return "You do not have a project yet. Create one with POST /projects.";
  return ApiError.of("signup_closed").message;
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/me",
    id: "getMe",
    summary: "Get the current caller and its permissions",
    scope: "any",
    response: "Me",
    handler: getMe,
  }),
];
