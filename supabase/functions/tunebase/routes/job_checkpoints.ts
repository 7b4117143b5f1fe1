/** GET /fine_tuning/jobs/{id}/checkpoints?after&limit, newest first: the three newest of a job are kept. */
import { call } from "../../_shared/database.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId } from "../ids.ts";
import { paging } from "../paging.ts";
import { type CheckpointRow, type Page, renderCheckpoint, renderList } from "../render.ts";

export async function listCheckpoints(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const { limit, after } = paging(c.req.query());
  const page = await call<Page<CheckpointRow>>(
    c.get("platform").sql,
    "list_checkpoints",
    { json: c.get("caller") },
    id,
    cursor("checkpoint", after),
    limit,
  );
  return c.json(renderList(page, renderCheckpoint));
}
