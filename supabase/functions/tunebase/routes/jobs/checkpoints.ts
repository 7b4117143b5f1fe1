/** GET /fine_tuning/jobs/{id}/checkpoints?after&limit, newest first. Only a job's three newest are kept. */
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderCheckpoint } from "../../serializers/fine_tuning.ts";
import { renderList } from "../../serializers/list.ts";
import { CheckpointRow, page } from "../../rows.ts";
import { defineRoute } from "../define.ts";

async function listCheckpoints(c: ApiContext): Promise<Response> {
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

export const routes = [
  defineRoute({
    method: "GET",
    path: "/fine_tuning/jobs/{id}/checkpoints",
    id: "listJobCheckpoints",
    summary: "List a job's latest checkpoints",
    scope: "jobs:read",
    paging: 100,
    response: "Checkpoint[]",
    errors: ["job_not_found"],
    handler: listCheckpoints,
  }),
];
