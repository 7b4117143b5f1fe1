/** GET /fine_tuning/jobs/{id}/checkpoints?after&limit, newest first: the three newest of a job are kept. */
import { rpc } from "../../_shared/database/rpc.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId } from "../ids.ts";
import { paging } from "../paging.ts";
import { renderCheckpoint, renderList } from "../render.ts";
import { CheckpointRow, page } from "../rows.ts";

export async function listCheckpoints(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const { limit, after } = paging(c.req.query());
  const found = await rpc(c.get("platform").db, "list_checkpoints", {
    caller: c.get("caller"),
    job_id: id,
    after: cursor("checkpoint", after),
    limit,
  }, page(CheckpointRow));
  return c.json(renderList(found, renderCheckpoint));
}
