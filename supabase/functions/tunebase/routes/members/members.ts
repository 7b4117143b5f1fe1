/**
 * GET, POST /projects/{id}/members; POST, DELETE /projects/{id}/members/{user_id}. Adding a member by email address always
 * creates an invitation, so that the response does not reveal whether the address has an account.
 */
import * as z from "zod";
import { roles } from "../../../_shared/contracts/statuses.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId, publicId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderInvitation, renderMember } from "../../serializers/tenancy.ts";
import { InvitationRow, MemberRow, page } from "../../rows.ts";
import { projectId } from "../projects/projects.ts";
import { defineRoute } from "../define.ts";

const role = z.enum(roles);
export const Invite = strictObject({ email: z.email("must be an email address").max(254), role });
export const Update = strictObject({ role });

async function listMembers(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const found = await rpc(c.get("platform").db, "list_members", {
    caller: c.get("caller"),
    project_id: projectId(c),
    after: cursor("user", after),
    limit,
  }, page(MemberRow));
  return c.json(renderList(found, renderMember));
}

async function inviteMember(c: ApiContext): Promise<Response> {
  const id = projectId(c);
  const { email, role } = parseOrThrow(Invite, await jsonBody(c.req));
  const args = { caller: c.get("caller"), project_id: id, email, role };
  const row = await rpc(c.get("platform").db, "invite_member", args, InvitationRow);
  return c.json(renderInvitation(row), 202);
}

async function updateMember(c: ApiContext): Promise<Response> {
  const [id, userId] = [projectId(c), pathId("user", c.req.param("user_id"), "member_not_found")];
  const { role } = parseOrThrow(Update, await jsonBody(c.req));
  const args = { caller: c.get("caller"), project_id: id, user_id: userId, role };
  return c.json(renderMember(await rpc(c.get("platform").db, "update_member", args, MemberRow)));
}

async function removeMember(c: ApiContext): Promise<Response> {
  const [id, userId] = [projectId(c), pathId("user", c.req.param("user_id"), "member_not_found")];
  const args = { caller: c.get("caller"), project_id: id, user_id: userId };
  await rpc(c.get("platform").db, "remove_member", args);
  return c.json({ id: publicId("user", userId), object: "project.member" as const, deleted: true });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/projects/{id}/members",
    id: "listMembers",
    summary: "List a project's members",
    scope: "project:read",
    paging: 100,
    response: "Member[]",
    errors: ["project_not_found"],
    handler: listMembers,
  }),
  defineRoute({
    method: "POST",
    path: "/projects/{id}/members",
    id: "inviteMember",
    summary: "Invite someone by email address",
    scope: "project:admin",
    body: Invite,
    example: { email: "ada@example.com", role: "developer" },
    response: { 202: { description: "Invited", content: { "application/json": "Invitation" } } },
    errors: ["project_not_found", "member_exists", "project_archived", "quota_exceeded"],
    handler: inviteMember,
  }),
  defineRoute({
    method: "POST",
    path: "/projects/{id}/members/{user_id}",
    id: "updateMember",
    summary: "Change a member's role",
    scope: "project:admin",
    body: Update,
    example: { role: "viewer" },
    response: "Member",
    errors: ["project_not_found", "member_not_found", "last_owner", "project_archived", "quota_exceeded"],
    handler: updateMember,
  }),
  defineRoute({
    method: "DELETE",
    path: "/projects/{id}/members/{user_id}",
    id: "removeMember",
    summary: "Remove a member, or leave the project",
    scope: "project:admin",
    response: "Deleted",
    errors: ["project_not_found", "member_not_found", "last_owner"],
    handler: removeMember,
  }),
];
