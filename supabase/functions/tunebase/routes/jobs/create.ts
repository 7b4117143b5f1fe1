/** POST /fine_tuning/jobs: OpenAI's body, with additional hyperparameters. */
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { exampleJob, JobBody, jobErrors, readJob } from "../../jobs/job_request.ts";
import { renderJob } from "../../serializers/fine_tuning.ts";
import { JobRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

async function createJob(c: ApiContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  const { body, files, model, parent, seed, publicHyperparameters, plan, estimate, warnings } = await readJob(
    c,
  );
  const row = await rpc(db, "create_job", {
    caller: c.get("caller"),
    job: {
      base_model: model.id,
      parent_model: parent,
      training_file: files.training,
      validation_file: files.validation,
      hyperparameters: publicHyperparameters,
      plan,
      suffix: body.suffix ?? null,
      seed,
      metadata: body.metadata ?? {},
      spend_cap_usd: body.spend_cap_usd ?? null,
      auto_start: body.auto_start ?? true,
      estimate,
      warnings,
      created_by: "user_id" in c.get("caller") ? "user" : "api_key",
    },
  }, JobRow);
  waitUntil(wakeScheduler(settings));
  return c.json(renderJob(row));
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/fine_tuning/jobs",
    id: "createJob",
    summary: "Create a job",
    description:
      "Safe to retry: requests with the same Idempotency-Key, and the SDKs' own retries, create one job.",
    scope: "jobs:write",
    body: JobBody,
    example: exampleJob,
    response: "Job",
    idempotency: "in_sql",
    errors: [...jobErrors, "quota_exceeded", "spend_cap_exceeded"],
    handler: createJob,
  }),
];
