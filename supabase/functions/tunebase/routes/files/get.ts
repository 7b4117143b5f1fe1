/** GET /files/{id} */
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { pathId } from "../../ids.ts";
import { renderFile } from "../../serializers/fine_tuning.ts";
import { FileRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

async function getFile(c: ApiContext): Promise<Response> {
  return c.json(renderFile(await fileRow(c)));
}

/** The row of the file in the path. Throws a 404 if the caller has no such file. */
export function fileRow(c: ApiContext): Promise<FileRow> {
  const id = pathId("file", c.req.param("id"), "file_not_found");
  return rpc(c.get("platform").db, "get_file", { caller: c.get("caller"), id }, FileRow);
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/files/{id}",
    id: "getFile",
    summary: "Get a file and its validation report",
    scope: "files:read",
    response: "File",
    errors: ["file_not_found"],
    handler: getFile,
  }),
];
