/** `jobs create`: shows the plan and the price, asks, and creates the job. */
import { unwrap } from "../../../client/mod.ts";
import { openSession } from "../../api/session.ts";
import { CliError, exitCodes } from "../../errors.ts";
import { printEstimate } from "../../jobs/estimate_view.ts";
import { buildJobRequest, type JobOptions } from "../../jobs/job_options.ts";
import { formatUsd, humanize } from "../../terminal/format.ts";
import { print, printJson, printNote } from "../../terminal/output.ts";
import { confirm, isInteractive } from "../../terminal/prompt.ts";
import { isFileId, requireLocalFile } from "../../transfers/named_file.ts";
import { followWithExitCode } from "./follow.ts";

export async function createJob(
  trainingFile: string,
  options: JobOptions & { yes?: boolean; follow?: boolean },
): Promise<void> {
  if (!isFileId(trainingFile)) await requireLocalFile(trainingFile, true);
  const needsConfirmation = !options.yes && options.start !== false;
  if (needsConfirmation && !isInteractive()) {
    throw new CliError(
      "Refusing to start a paid job without confirmation. Pass --yes, or run `tunebase estimate` first.",
      exitCodes.usage,
    );
  }
  const session = await openSession();
  const body = await buildJobRequest(session, trainingFile, options);
  if (!options.json || needsConfirmation) {
    const estimate = unwrap(await session.api.POST("/fine_tuning/estimates", { body }));
    if (!options.json) printEstimate(estimate, body);
    const usd = estimate.cost.usd;
    const price = usd === null
      ? ""
      : ` for about ${formatUsd(usd.expected)} (up to about ${formatUsd(usd.high)})`;
    if (needsConfirmation && !await confirm(`Start this job${price}?`)) {
      throw new CliError(`No job was created. The training data is on the server as ${body.training_file}.`);
    }
  }
  const job = unwrap(await session.api.POST("/fine_tuning/jobs", { body }));
  if (options.follow && options.start !== false) {
    if (!options.json) print(`Created ${job.id}.`);
    return await followWithExitCode(session, job.id, options);
  }
  if (options.json) return printJson(job);
  print(`Created ${job.id} (${humanize(job.status)}).`);
  printNote(`Next: tunebase jobs ${options.start === false ? "start" : "follow"} ${job.id}`);
}
