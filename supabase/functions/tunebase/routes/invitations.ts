/**
 * GET /projects/{id}/invitations and DELETE …/{invitation_id} for owners; GET /invitations, POST /invitations/{id}/accept
 * and /decline for whoever owns the address.
 */
import { call } from "../../_shared/database.ts";
import type { ApiContext } from "../context.ts";
import { pathId, publicId } from "../ids.ts";
import { renderList } from "../render.ts";
import { type InvitationRow, renderInvitation } from "../render_tenancy.ts";
import { projectId } from "./projects.ts";

const list = (name: "list_invitations" | "list_user_invitations") =>
  async function listInvitations(c: ApiContext): Promise<Response> {
    const { sql } = c.get("platform");
    const caller = { json: c.get("caller") };
    const rows = name === "list_invitations"
      ? await call<InvitationRow[]>(sql, name, caller, projectId(c))
      : await call<InvitationRow[]>(sql, name, caller);
    return c.json(renderList({ data: rows, has_more: false }, renderInvitation));
  };
export const listInvitations = list("list_invitations");
export const listMyInvitations = list("list_user_invitations");

export async function deleteInvitation(c: ApiContext): Promise<Response> {
  const id = pathId("invitation", c.req.param("invitation_id"), "invitation_not_found");
  await call<null>(c.get("platform").sql, "delete_invitation", { json: c.get("caller") }, projectId(c), id);
  return c.json({ id: publicId("invitation", id), object: "project.invitation" as const, deleted: true });
}

const answer = (accept: boolean) =>
  async function answerInvitation(c: ApiContext): Promise<Response> {
    const id = pathId("invitation", c.req.param("id"), "invitation_not_found");
    const { sql } = c.get("platform");
    const row = await call<InvitationRow>(sql, "answer_invitation", { json: c.get("caller") }, id, accept);
    return c.json({ ...renderInvitation(row), status: accept ? "accepted" as const : "declined" as const });
  };
export const acceptInvitation = answer(true);
export const declineInvitation = answer(false);
