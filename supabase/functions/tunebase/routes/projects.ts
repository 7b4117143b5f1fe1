/**
 * GET, POST /projects; GET, POST /projects/{id}; POST /projects/{id}/archive, /restore. A project is put away and not
 * deleted: what it spent and trained stays on record.
 */
import * as z from "zod";
import { call } from "../../_shared/database.ts";
import { check, fields, jsonBody } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId } from "../ids.ts";
import { paging } from "../paging.ts";
import { type Page, renderList } from "../render.ts";
import { type ProjectRow, renderProject } from "../render_tenancy.ts";

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
  const page = await call<Page<ProjectRow>>(
    c.get("platform").sql,
    "list_projects",
    { json: c.get("caller") },
    cursor("project", after),
    limit,
    include_archived === "true",
  );
  return c.json(renderList(page, renderProject));
}

export async function createProject(c: ApiContext): Promise<Response> {
  const body = check(Create, await jsonBody(c.req.raw));
  const { sql } = c.get("platform");
  return shown(c, await call<ProjectRow>(sql, "create_project", { json: c.get("caller") }, body.name));
}

export async function getProject(c: ApiContext): Promise<Response> {
  return shown(
    c,
    await call<ProjectRow>(c.get("platform").sql, "get_project", { json: c.get("caller") }, projectId(c)),
  );
}

export async function updateProject(c: ApiContext): Promise<Response> {
  const id = projectId(c);
  const body = check(Update, await jsonBody(c.req.raw));
  const changes = {
    name: body.name,
    max_running: body.limits?.running,
    spend_cap_usd: body.limits?.spent_usd,
  };
  return shown(
    c,
    await call<ProjectRow>(
      c.get("platform").sql,
      "update_project",
      { json: c.get("caller") },
      id,
      { json: changes },
    ),
  );
}

const archive = (archived: boolean) =>
  async function archiveProject(c: ApiContext): Promise<Response> {
    const { sql } = c.get("platform");
    const id = projectId(c);
    return shown(c, await call<ProjectRow>(sql, "archive_project", { json: c.get("caller") }, id, archived));
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
