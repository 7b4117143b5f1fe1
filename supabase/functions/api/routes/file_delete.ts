/** DELETE /files/{id}: refused while a job that has not ended needs it. */
import { call } from "../../_shared/database.ts";
import type { ApiContext } from "../context.ts";
import { pathId, publicId } from "../ids.ts";

export async function deleteFile(c: ApiContext): Promise<Response> {
  const { sql, supabase } = c.get("platform");
  const id = pathId("file", c.req.param("id"), "file_not_found");
  const object = await call<string>(sql, "delete_file", { json: c.get("caller") }, id);
  const { error } = await supabase.storage.from("datasets").remove([object]);
  // The file is gone for its project whatever Storage says; bytes that stay behind are the operator's to see.
  if (error !== null) console.error(`could not remove datasets/${object}:`, error.message);
  return c.json({ id: publicId("file", id), object: "file" as const, deleted: true });
}
