/** `estimate`: what a job would take; nothing is created. */
import { unwrap } from "../client/mod.ts";
import { addCommand, type Command, examples } from "./command.ts";
import { printJson } from "./output.ts";
import { jobBody, type JobOptions, jobOptions, printEstimate } from "./plan.ts";
import { openSession } from "./session.ts";

export function addEstimate(program: Command): void {
  const command = addCommand(
    program,
    "estimate <training-file>",
    "Tokens, steps, time, cost and memory of a job; a path is uploaded, nothing else is created",
  );
  examples(
    jobOptions(command).action(estimate),
    "estimate rows.jsonl --model SmolLM2-135M-Instruct --epochs 3",
  );
}

async function estimate(training: string, options: JobOptions): Promise<void> {
  const session = await openSession();
  const body = await jobBody(session, training, options);
  const made = unwrap(await session.api.POST("/fine_tuning/estimates", { body }));
  if (options.json) printJson(made);
  else printEstimate(made, body);
}
