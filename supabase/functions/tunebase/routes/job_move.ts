/**
 * POST /fine_tuning/jobs/{id}/cancel, /pause, /resume, /start: what a client does to a job that exists. Cancelled at
 * once, the GPU is told right after; a worker that is to pause saves a checkpoint first; resumed, it is queued again; a
 * job that was created with `auto_start: false` is started.
 */
import { nudgeScheduler } from "../../_shared/addresses.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import type { ApiContext } from "../context.ts";
import { pathId } from "../ids.ts";
import { renderJob } from "../render.ts";
import { JobRow } from "../rows.ts";

const move = (name: "cancel_job" | "pause_job" | "resume_job" | "start_job") =>
  async function moveJob(c: ApiContext): Promise<Response> {
    const { db, settings, later } = c.get("platform");
    const id = pathId("job", c.req.param("id"), "job_not_found");
    const row = await rpc(db, name, { caller: c.get("caller"), job_id: id }, JobRow);
    later(nudgeScheduler(settings));
    return c.json(renderJob(row));
  };

export const cancelJob = move("cancel_job");
export const pauseJob = move("pause_job");
export const resumeJob = move("resume_job");
export const startJob = move("start_job");
