/** GET /files/{id} */
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import type { ApiContext } from "../context.ts";
import { pathId } from "../ids.ts";
import { renderFile } from "../render.ts";

export async function getFile(c: ApiContext): Promise<Response> {
  return c.json(renderFile(await fileRow(c)));
}

/** The row of the path's file, if it is the caller's; else 404. */
export function fileRow(c: ApiContext): Promise<Tables<"files">> {
  const id = pathId("file", c.req.param("id"), "file_not_found");
  return call<Tables<"files">>(c.get("platform").sql, "get_file", { json: c.get("caller") }, id);
}
