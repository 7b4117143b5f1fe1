/** POST /fine_tuning/estimates: the body of a job; what it would take. Nothing is created. */
import type { ApiContext } from "../../context.ts";
import { readJob } from "../../jobs/job_request.ts";

export async function createEstimate(c: ApiContext): Promise<Response> {
  const { body, shown, estimate } = await readJob(c);
  return c.json({
    object: "fine_tuning.estimate" as const,
    model: body.model,
    training_file: body.training_file,
    validation_file: body.validation_file ?? null,
    hyperparameters: shown,
    ...estimate,
  });
}
