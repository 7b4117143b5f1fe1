/** POST /fine_tuning/jobs/{id}/cancel: cancelled at once; the GPU is told right after. */
import { nudgeScheduler } from "../../_shared/addresses.ts";
import { call } from "../../_shared/database.ts";
import type { ApiContext } from "../context.ts";
import { pathId } from "../ids.ts";
import { type JobRow, renderJob } from "../render.ts";

export async function cancelJob(c: ApiContext): Promise<Response> {
  const { sql, settings, later } = c.get("platform");
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const row = await call<JobRow>(sql, "cancel_job", { json: c.get("caller") }, id);
  later(nudgeScheduler(settings));
  return c.json(renderJob(row));
}
