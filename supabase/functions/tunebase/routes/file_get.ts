/** GET /files/{id} */
import { rpc } from "../../_shared/database/rpc.ts";
import type { ApiContext } from "../context.ts";
import { pathId } from "../ids.ts";
import { renderFile } from "../render.ts";
import { FileRow } from "../rows.ts";

export async function getFile(c: ApiContext): Promise<Response> {
  return c.json(renderFile(await fileRow(c)));
}

/** The row of the path's file, if it is the caller's; else 404. */
export function fileRow(c: ApiContext): Promise<FileRow> {
  const id = pathId("file", c.req.param("id"), "file_not_found");
  return rpc(c.get("platform").db, "get_file", { caller: c.get("caller"), id }, FileRow);
}
