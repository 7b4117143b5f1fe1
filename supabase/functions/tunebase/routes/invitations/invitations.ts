/**
 * GET /projects/{id}/invitations and DELETE …/{invitation_id} for owners; GET /invitations, POST /invitations/{id}/accept
 * and /decline for the invited user.
 */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { pathId, publicId } from "../../ids.ts";
import { renderList } from "../../serializers/list.ts";
import { renderInvitation } from "../../serializers/tenancy.ts";
import { InvitationRow } from "../../rows.ts";
import { projectId } from "../projects/projects.ts";
import { defineRoute } from "../define.ts";

const list = (name: "list_invitations" | "list_user_invitations") =>
  async function listInvitations(c: ApiContext): Promise<Response> {
    const { db } = c.get("platform");
    const caller = c.get("caller");
    const rows = name === "list_invitations"
      ? await rpc(db, name, { caller, project_id: projectId(c) }, z.array(InvitationRow))
      : await rpc(db, name, { caller }, z.array(InvitationRow));
    return c.json(renderList({ data: rows, has_more: false }, renderInvitation));
  };
const listInvitations = list("list_invitations");
const listMyInvitations = list("list_user_invitations");

async function deleteInvitation(c: ApiContext): Promise<Response> {
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
const acceptInvitation = answer(true);
const declineInvitation = answer(false);

export const routes = [
  defineRoute({
    method: "GET",
    path: "/projects/{id}/invitations",
    id: "listInvitations",
    summary: "List a project's pending invitations",
    scope: "project:admin",
    response: "Invitation[]",
    errors: ["project_not_found"],
    handler: listInvitations,
  }),
  defineRoute({
    method: "DELETE",
    path: "/projects/{id}/invitations/{invitation_id}",
    id: "deleteInvitation",
    summary: "Revoke an invitation",
    scope: "project:admin",
    response: "Deleted",
    errors: ["project_not_found", "invitation_not_found"],
    handler: deleteInvitation,
  }),
  defineRoute({
    method: "GET",
    path: "/invitations",
    id: "listMyInvitations",
    summary: "List your invitations",
    scope: "user",
    response: "Invitation[]",
    handler: listMyInvitations,
  }),
  defineRoute({
    method: "POST",
    path: "/invitations/{id}/accept",
    id: "acceptInvitation",
    summary: "Accept an invitation",
    scope: "user",
    response: "AnsweredInvitation",
    errors: ["invitation_not_found", "project_archived", "quota_exceeded"],
    handler: acceptInvitation,
  }),
  defineRoute({
    method: "POST",
    path: "/invitations/{id}/decline",
    id: "declineInvitation",
    summary: "Decline an invitation",
    scope: "user",
    response: "AnsweredInvitation",
    errors: ["invitation_not_found"],
    handler: declineInvitation,
  }),
];
