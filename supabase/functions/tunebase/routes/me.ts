/** GET /me: who calls, in which project, and what they may do there. Needs no scope. */
import { call } from "../../_shared/database.ts";
import { ApiError } from "../../_shared/errors.ts";
import type { ApiContext } from "../context.ts";
import { publicId } from "../ids.ts";
import {
  type ApiKeyRow,
  type InvitationRow,
  type ProjectRow,
  renderApiKey,
  renderInvitation,
  renderProject,
} from "../render_tenancy.ts";

interface Me {
  user: { id: string; email: string | null } | null;
  api_key: ApiKeyRow | null;
  scopes: string[];
  project: ProjectRow | null;
  can_create_project: boolean;
  invitations: InvitationRow[];
}

export async function getMe(c: ApiContext): Promise<Response> {
  const me = await call<Me>(c.get("platform").sql, "get_caller", { json: c.get("caller") });
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
  });
}

/** What to do for a user who is in no project. */
function hint(me: Me): string | null {
  if (me.project !== null) return null;
  if (me.invitations.length > 0) {
    return "You are invited to a project. Accept with POST /invitations/{id}/accept.";
  }
  if (me.can_create_project) return "You are in no project yet. Create one with POST /projects.";
  return ApiError.of("signup_closed").message;
}
