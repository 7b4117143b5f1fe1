/** GET /fine_tuning/jobs/{id} */
import { rpc } from "../../_shared/database/rpc.ts";
import type { ApiContext } from "../context.ts";
import { pathId } from "../ids.ts";
import { renderJob } from "../render.ts";
import { JobRow } from "../rows.ts";

export async function getJob(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), job_id: pathId("job", c.req.param("id"), "job_not_found") };
  return c.json(renderJob(await rpc(c.get("platform").db, "get_job", args, JobRow)));
}
