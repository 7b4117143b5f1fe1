/** GET /me: who calls, in which project, and what they may do there. Needs no scope. */
import { call } from "../../_shared/database.ts";
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
  invitations: InvitationRow[];
}

export async function getMe(c: ApiContext): Promise<Response> {
  const me = await call<Me>(c.get("platform").sql, "get_caller", { json: c.get("caller") });
  return c.json({
    object: "get_caller" as const,
    user: me.user === null ? null : { id: publicId("user", me.user.id), email: me.user.email },
    api_key: me.api_key === null ? null : renderApiKey(me.api_key),
    project: me.project === null ? null : renderProject(me.project),
    role: me.project?.role ?? null,
    scopes: me.scopes,
    invitations: me.invitations.map(renderInvitation),
  });
}
