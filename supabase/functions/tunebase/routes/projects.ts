/**
 * GET, POST /projects; GET, POST /projects/{id}; POST /projects/{id}/archive, /restore. A project is put away and not
 * deleted: what it spent and trained stays on record.
 */
import * as z from "zod";
import { rpc } from "../../_shared/database/rpc.ts";
import { check, fields, jsonBody } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId } from "../ids.ts";
import { paging } from "../paging.ts";
import { renderList } from "../render.ts";
import { renderProject } from "../render_tenancy.ts";
import { page, ProjectRow } from "../rows.ts";

const name = z.string().trim().min(1).max(100);
export const Create = fields({ name });
export const Update = fields({
  name: name.optional(),
  limits: fields({
    running: z.int().min(0).max(1000).optional(),
    spent_usd: z.number().min(0.0001, "must be at least 0.0001; null is no cap").max(10_000_000).nullish()
      .describe(
        "Left out: unchanged. null: no cap. The operator may have set the highest that an owner may choose",
      ),
  }).optional(),
});
export const Query = z.object({ include_archived: z.enum(["true", "false"]).default("false") });

export async function listProjects(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const { include_archived } = check(Query, c.req.query());
  const found = await rpc(c.get("platform").db, "list_projects", {
    caller: c.get("caller"),
    after: cursor("project", after),
    limit,
    archived: include_archived === "true",
  }, page(ProjectRow));
  return c.json(renderList(found, renderProject));
}

export async function createProject(c: ApiContext): Promise<Response> {
  const { name } = check(Create, await jsonBody(c.req.raw));
  const { db } = c.get("platform");
  return shown(c, await rpc(db, "create_project", { caller: c.get("caller"), name }, ProjectRow));
}

export async function getProject(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), id: projectId(c) };
  return shown(c, await rpc(c.get("platform").db, "get_project", args, ProjectRow));
}

export async function updateProject(c: ApiContext): Promise<Response> {
  const id = projectId(c);
  const body = check(Update, await jsonBody(c.req.raw));
  const changes = {
    name: body.name,
    max_running: body.limits?.running,
    spend_cap_usd: body.limits?.spent_usd,
  };
  const args = { caller: c.get("caller"), id, changes };
  return shown(c, await rpc(c.get("platform").db, "update_project", args, ProjectRow));
}

const archive = (archived: boolean) =>
  async function archiveProject(c: ApiContext): Promise<Response> {
    const args = { caller: c.get("caller"), id: projectId(c), archived };
    return shown(c, await rpc(c.get("platform").db, "archive_project", args, ProjectRow));
  };
export const archiveProject = archive(true);
export const restoreProject = archive(false);

/** The UUID of the path's project. */
export function projectId(c: ApiContext): string {
  return pathId("project", c.req.param("id"), "project_not_found");
}

function shown(c: ApiContext, row: ProjectRow): Response {
  c.set("version", row.version);
  return c.json(renderProject(row));
}
