/** DELETE /files/{id}: refused while a job that has not ended needs it. The scheduler removes the bytes. */
import { nudgeScheduler } from "../../_shared/addresses.ts";
import { call } from "../../_shared/database.ts";
import type { ApiContext } from "../context.ts";
import { pathId, publicId } from "../ids.ts";

export async function deleteFile(c: ApiContext): Promise<Response> {
  const { sql, settings, later } = c.get("platform");
  const id = pathId("file", c.req.param("id"), "file_not_found");
  await call<null>(sql, "delete_file", { json: c.get("caller") }, id);
  later(nudgeScheduler(settings));
  return c.json({ id: publicId("file", id), object: "file" as const, deleted: true });
}
