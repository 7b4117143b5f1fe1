/**
 * GET, POST /projects; GET, POST /projects/{id}; POST /projects/{id}/archive, /restore. Projects are archived instead of
 * deleted, to keep a record of their jobs and spending.
 */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderProject } from "../../serializers/tenancy.ts";
import { page, ProjectRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const name = z.string().trim().min(1).max(100);
export const Create = strictObject({ name });
export const Update = strictObject({
  name: name.optional(),
  limits: strictObject({
    running: z.int().min(0).max(1000).optional(),
    spent_usd: z.number().min(0.0001, "must be at least 0.0001, or null for no cap").max(10_000_000).nullish()
      .describe(
        "Omitted: unchanged. null: no cap. The operator can limit what owners may set",
      ),
  }).optional(),
  store_completions: z.boolean().optional().describe("Whether requests can set `store: true`"),
  completion_retention_days: z.int().min(1).max(3650).optional()
    .describe("How long completions are stored from now on"),
});
export const Query = z.object({ include_archived: z.enum(["true", "false"]).default("false") });

async function listProjects(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const { include_archived } = parseOrThrow(Query, c.req.query());
  const found = await rpc(c.get("platform").db, "list_projects", {
    caller: c.get("caller"),
    after: cursor("project", after),
    limit,
    archived: include_archived === "true",
  }, page(ProjectRow));
  return c.json(renderList(found, renderProject));
}

async function createProject(c: ApiContext): Promise<Response> {
  const { name } = parseOrThrow(Create, await jsonBody(c.req));
  const { db } = c.get("platform");
  return shown(c, await rpc(db, "create_project", { caller: c.get("caller"), name }, ProjectRow));
}

async function getProject(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), id: projectId(c) };
  return shown(c, await rpc(c.get("platform").db, "get_project", args, ProjectRow));
}

async function updateProject(c: ApiContext): Promise<Response> {
  const id = projectId(c);
  const body = parseOrThrow(Update, await jsonBody(c.req));
  const changes = {
    name: body.name,
    max_running: body.limits?.running,
    spend_cap_usd: body.limits?.spent_usd,
    store_completions: body.store_completions,
    completion_retention_days: body.completion_retention_days,
  };
  const args = { caller: c.get("caller"), id, changes };
  return shown(c, await rpc(c.get("platform").db, "update_project", args, ProjectRow));
}

const archive = (archived: boolean) =>
  async function archiveProject(c: ApiContext): Promise<Response> {
    const args = { caller: c.get("caller"), id: projectId(c), archived };
    return shown(c, await rpc(c.get("platform").db, "archive_project", args, ProjectRow));
  };
const archiveProject = archive(true);
const restoreProject = archive(false);

/** The UUID of the project in the path. */
export function projectId(c: ApiContext): string {
  return pathId("project", c.req.param("id"), "project_not_found");
}

function shown(c: ApiContext, row: ProjectRow): Response {
  c.set("version", row.version);
  return c.json(renderProject(row));
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/projects",
    id: "listProjects",
    summary: "List your projects",
    scope: "any",
    paging: 100,
    query: Query,
    response: "Project[]",
    errors: ["insufficient_scope"],
    handler: listProjects,
  }),
  defineRoute({
    method: "POST",
    path: "/projects",
    id: "createProject",
    summary: "Create a project",
    scope: "user",
    body: Create,
    example: { name: "Support" },
    response: "Project",
    errors: ["signup_closed", "quota_exceeded"],
    handler: createProject,
  }),
  defineRoute({
    method: "GET",
    path: "/projects/{id}",
    id: "getProject",
    summary: "Get a project and its usage",
    scope: "project:read",
    response: "Project",
    errors: ["project_not_found"],
    handler: getProject,
  }),
  defineRoute({
    method: "POST",
    path: "/projects/{id}",
    id: "updateProject",
    summary: "Update a project's name and limits",
    scope: "project:admin",
    body: Update,
    example: { limits: { running: 2, spent_usd: 100 } },
    response: "Project",
    errors: ["project_not_found", "project_archived", "quota_exceeded", "spend_cap_too_high"],
    ifMatch: true,
    handler: updateProject,
  }),
  defineRoute({
    method: "POST",
    path: "/projects/{id}/archive",
    id: "archiveProject",
    summary: "Archive a project",
    scope: "project:admin",
    response: "Project",
    errors: ["project_not_found", "project_busy"],
    ifMatch: true,
    handler: archiveProject,
  }),
  defineRoute({
    method: "POST",
    path: "/projects/{id}/restore",
    id: "restoreProject",
    summary: "Restore an archived project",
    scope: "project:admin",
    response: "Project",
    errors: ["project_not_found", "quota_exceeded"],
    ifMatch: true,
    handler: restoreProject,
  }),
];
