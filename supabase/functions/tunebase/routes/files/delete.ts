/** DELETE /files/{id}: fails while an unfinished job uses the file. The scheduler deletes its object. */
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { pathId, publicId } from "../../ids.ts";
import { defineRoute } from "../define.ts";

async function deleteFile(c: ApiContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  const id = pathId("file", c.req.param("id"), "file_not_found");
  await rpc(db, "delete_file", { caller: c.get("caller"), id });
  waitUntil(wakeScheduler(settings));
  return c.json({ id: publicId("file", id), object: "file" as const, deleted: true });
}

export const routes = [
  defineRoute({
    method: "DELETE",
    path: "/files/{id}",
    id: "deleteFile",
    summary: "Delete a file",
    scope: "files:write",
    response: "Deleted",
    errors: ["file_not_found", "file_in_use"],
    handler: deleteFile,
  }),
];
