/** `estimate`: estimates a job without creating it. */
import { unwrap } from "../../client/mod.ts";
import { openSession } from "../api/session.ts";
import { addCommand, addExamples, type Command } from "../command.ts";
import { printEstimate } from "../jobs/estimate_view.ts";
import { addJobOptions, buildJobRequest, type JobOptions } from "../jobs/job_options.ts";
import { printJson } from "../terminal/output.ts";

export function addEstimate(program: Command): void {
  const command = addCommand(
    program,
    "estimate <training-file>",
    "Estimate a job's tokens, steps, time, cost and GPU memory; uploads the file if given a path",
  );
  addExamples(
    addJobOptions(command).action(estimate),
    "estimate rows.jsonl --model SmolLM2-135M-Instruct --epochs 3",
  );
}

async function estimate(trainingFile: string, options: JobOptions): Promise<void> {
  const session = await openSession();
  const body = await buildJobRequest(session, trainingFile, options);
  const result = unwrap(await session.api.POST("/fine_tuning/estimates", { body }));
  if (options.json) printJson(result);
  else printEstimate(result, body);
}
