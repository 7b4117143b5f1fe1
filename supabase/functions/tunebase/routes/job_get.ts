/** GET /fine_tuning/jobs/{id} */
import { call } from "../../_shared/database.ts";
import type { ApiContext } from "../context.ts";
import { pathId } from "../ids.ts";
import { type JobRow, renderJob } from "../render.ts";

export async function getJob(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  return c.json(
    renderJob(await call<JobRow>(c.get("platform").sql, "get_job", { json: c.get("caller") }, id)),
  );
}
