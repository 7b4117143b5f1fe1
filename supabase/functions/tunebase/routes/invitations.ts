/**
 * GET /projects/{id}/invitations and DELETE …/{invitation_id} for owners; GET /invitations, POST /invitations/{id}/accept
 * and /decline for whoever owns the address.
 */
import * as z from "zod";
import { rpc } from "../../_shared/database/rpc.ts";
import type { ApiContext } from "../context.ts";
import { pathId, publicId } from "../ids.ts";
import { renderList } from "../render.ts";
import { renderInvitation } from "../render_tenancy.ts";
import { InvitationRow } from "../rows.ts";
import { projectId } from "./projects.ts";

const list = (name: "list_invitations" | "list_user_invitations") =>
  async function listInvitations(c: ApiContext): Promise<Response> {
    const { db } = c.get("platform");
    const caller = c.get("caller");
    const rows = name === "list_invitations"
      ? await rpc(db, name, { caller, project_id: projectId(c) }, z.array(InvitationRow))
      : await rpc(db, name, { caller }, z.array(InvitationRow));
    return c.json(renderList({ data: rows, has_more: false }, renderInvitation));
  };
export const listInvitations = list("list_invitations");
export const listMyInvitations = list("list_user_invitations");

export async function deleteInvitation(c: ApiContext): Promise<Response> {
  const id = pathId("invitation", c.req.param("invitation_id"), "invitation_not_found");
  const args = { caller: c.get("caller"), project_id: projectId(c), id };
  await rpc(c.get("platform").db, "delete_invitation", args);
  return c.json({ id: publicId("invitation", id), object: "project.invitation" as const, deleted: true });
}

const answer = (accept: boolean) =>
  async function answerInvitation(c: ApiContext): Promise<Response> {
    const id = pathId("invitation", c.req.param("id"), "invitation_not_found");
    const args = { caller: c.get("caller"), id, accept };
    const row = await rpc(c.get("platform").db, "answer_invitation", args, InvitationRow);
    return c.json({ ...renderInvitation(row), status: accept ? "accepted" as const : "declined" as const });
  };
export const acceptInvitation = answer(true);
export const declineInvitation = answer(false);
