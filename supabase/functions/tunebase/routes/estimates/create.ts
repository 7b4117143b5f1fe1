/** POST /fine_tuning/estimates: takes the body of a job and estimates its tokens, time, cost and memory. */
import type { ApiContext } from "../../context.ts";
import { exampleJob, JobBody, jobErrors, readJob } from "../../jobs/job_request.ts";
import { defineRoute } from "../define.ts";

async function createEstimate(c: ApiContext): Promise<Response> {
  const { body, publicHyperparameters, estimate } = await readJob(c);
  return c.json({
    object: "fine_tuning.estimate" as const,
    model: body.model,
    training_file: body.training_file,
    validation_file: body.validation_file ?? null,
    hyperparameters: publicHyperparameters,
    ...estimate,
  });
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/fine_tuning/estimates",
    id: "createEstimate",
    summary: "Estimate a job's tokens, time, cost and memory without creating it",
    scope: "jobs:write",
    body: JobBody,
    example: exampleJob,
    response: "JobEstimate",
    errors: jobErrors,
    handler: createEstimate,
  }),
];
