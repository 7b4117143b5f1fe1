/** `jobs`: the group's commands and options. */
import { jobStatuses } from "../../../supabase/functions/_shared/contracts/statuses.ts";
import {
  addCommand,
  addExamples,
  addGroup,
  type Command,
  explainJobArgument,
  Option,
  parseInteger,
  parsePair,
} from "../../command.ts";
import { addJobOptions } from "../../jobs/job_options.ts";
import { type JobAction, runJobAction } from "./actions.ts";
import { createJob } from "./create.ts";
import { follow } from "./follow.ts";
import { showCheckpoints, showEvents, showMetrics } from "./history.ts";
import { getJob, listJobs } from "./list_and_get.ts";

const actions: [JobAction, string][] = [
  ["cancel", "Cancel a job immediately"],
  ["pause", "Pause a job; a running one saves a checkpoint first"],
  ["resume", "Resume a paused job"],
  ["start", "Start a job that was created with --no-start"],
];

export function addJobs(program: Command): void {
  const jobs = explainJobArgument(addGroup(program, "jobs", "Create and manage fine-tuning jobs"));
  const create = addCommand(
    jobs,
    "create <training-file>",
    "Create a job after showing its plan and estimated cost",
  );
  addExamples(
    addJobOptions(create)
      .option("-y, --yes", "skip the confirmation")
      .option("--no-start", "create the job without starting it; start it with `jobs start`")
      .option("--follow", "follow the job until it finishes")
      .action(createJob),
    "jobs create rows.jsonl --model SmolLM2-135M-Instruct --epochs 3 --follow",
    "jobs create file-0192… --set lora_alpha=32 --spend-cap 5 --yes --json",
    "jobs create - --yes < rows.jsonl",
  );
  addCommand(jobs, "list", "List jobs, newest first")
    .addOption(new Option("--status <status>", "only jobs with this status").choices(jobStatuses))
    .option("--model <model>", "only jobs of this base model")
    .option("--metadata <key=value>", "only jobs with this metadata; can be repeated", parsePair)
    .option("--limit <n>", "maximum number of jobs", parseInteger(1), 20)
    .option("--after <id>", "show jobs older than this ID")
    .action(listJobs);
  addCommand(jobs, "get <job>", "Show a job").action(getJob);
  for (const [action, description] of actions) {
    addCommand(jobs, `${action} <job>`, description).action(runJobAction(action));
  }
  addExamples(
    addCommand(
      jobs,
      "follow <job>",
      "Follow a job until it finishes; exits with 0 only if it succeeds",
    ).action(follow),
    "jobs follow ftjob-0192…",
    "jobs follow latest",
  );
  addCommand(jobs, "events <job>", "Show a job's log")
    .option("--limit <n>", "maximum number of events", parseInteger(1), 50)
    .option("--after <id>", "show events older than this ID")
    .action(showEvents);
  addCommand(jobs, "metrics <job>", "Show loss, learning rate and throughput over the whole run")
    .option("--points <n>", "number of steps to show, at least 10", parseInteger(10), 20)
    .action(showMetrics);
  addCommand(jobs, "checkpoints <job>", "List the latest checkpoints").action(showCheckpoints);
}
