/**
 * GET, POST /projects/{id}/members; POST, DELETE /projects/{id}/members/{user_id}. Adding somebody by e-mail makes an
 * invitation, whether or not the address is known here: who has an account is nobody else's business.
 */
import * as z from "zod";
import { call } from "../../_shared/database.ts";
import { check, fields, jsonBody } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId, publicId } from "../ids.ts";
import { paging } from "../paging.ts";
import { type Page, renderList } from "../render.ts";
import { type InvitationRow, type MemberRow, renderInvitation, renderMember } from "../render_tenancy.ts";
import { projectId } from "./projects.ts";

const role = z.enum(["owner", "developer", "viewer"]);
export const Invite = fields({ email: z.email("must be an e-mail address").max(254), role });
export const Update = fields({ role });

export async function listMembers(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const { sql } = c.get("platform");
  const caller = { json: c.get("caller") };
  const page = await call<Page<MemberRow>>(
    sql,
    "list_members",
    caller,
    projectId(c),
    cursor("user", after),
    limit,
  );
  return c.json(renderList(page, renderMember));
}

export async function inviteMember(c: ApiContext): Promise<Response> {
  const id = projectId(c);
  const { email, role } = check(Invite, await jsonBody(c.req.raw));
  const { sql } = c.get("platform");
  const row = await call<InvitationRow>(sql, "invite_member", { json: c.get("caller") }, id, email, role);
  return c.json(renderInvitation(row), 202);
}

export async function updateMember(c: ApiContext): Promise<Response> {
  const [id, userId] = [projectId(c), pathId("user", c.req.param("user_id"), "member_not_found")];
  const { role } = check(Update, await jsonBody(c.req.raw));
  const { sql } = c.get("platform");
  return c.json(
    renderMember(await call<MemberRow>(sql, "update_member", { json: c.get("caller") }, id, userId, role)),
  );
}

export async function removeMember(c: ApiContext): Promise<Response> {
  const [id, userId] = [projectId(c), pathId("user", c.req.param("user_id"), "member_not_found")];
  await call<null>(c.get("platform").sql, "remove_member", { json: c.get("caller") }, id, userId);
  return c.json({ id: publicId("user", userId), object: "project.member" as const, deleted: true });
}
