/** POST /fine_tuning/jobs/{id}/cancel, /pause, /resume and /start. */
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ErrorCode } from "../../../_shared/contracts/error_codes.ts";
import type { ApiContext } from "../../context.ts";
import { pathId } from "../../ids.ts";
import { renderJob } from "../../serializers/fine_tuning.ts";
import { JobRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const jobAction = (name: "cancel_job" | "pause_job" | "resume_job" | "start_job") =>
  async function handleJobAction(c: ApiContext): Promise<Response> {
    const { db, settings, waitUntil } = c.get("platform");
    const id = pathId("job", c.req.param("id"), "job_not_found");
    const row = await rpc(db, name, { caller: c.get("caller"), job_id: id }, JobRow);
    waitUntil(wakeScheduler(settings));
    return c.json(renderJob(row));
  };

const transition = (
  name: "cancel" | "pause" | "resume" | "start",
  text: { summary: string; description?: string },
  ...errors: ErrorCode[]
) =>
  defineRoute({
    method: "POST",
    path: `/fine_tuning/jobs/{id}/${name}`,
    id: `${name}Job`,
    ...text,
    scope: "jobs:write",
    response: "Job",
    errors: [
      "job_not_found",
      "project_archived",
      "spend_cap_exceeded",
      "quota_exceeded",
      "job_already_finished",
      ...errors,
    ],
    handler: jobAction(`${name}_job`),
  });

export const routes = [
  transition("cancel", {
    summary: "Cancel a job",
    description: "Takes effect immediately; the GPU worker is stopped right after.",
  }),
  transition("pause", { summary: "Pause a job", description: "A running job saves a checkpoint first." }),
  transition("resume", { summary: "Resume a paused job from its latest checkpoint" }, "job_not_paused"),
  transition(
    "start",
    { summary: "Start a job created with `auto_start: false`" },
    "job_already_started",
  ),
];
