/** GET /fine_tuning/jobs/{id} */
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { pathId } from "../../ids.ts";
import { renderJob } from "../../serializers/fine_tuning.ts";
import { JobRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

async function getJob(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), job_id: pathId("job", c.req.param("id"), "job_not_found") };
  return c.json(renderJob(await rpc(c.get("platform").db, "get_job", args, JobRow)));
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/fine_tuning/jobs/{id}",
    id: "getJob",
    summary: "Get a job",
    scope: "jobs:read",
    response: "Job",
    errors: ["job_not_found"],
    handler: getJob,
  }),
];
