/** `jobs`: create, list, show, move, and what they report. */
import process from "node:process";
import { jobStatuses } from "../supabase/functions/_shared/contracts/statuses.ts";
import { type Schemas, unwrap } from "../client/mod.ts";
import { canAsk, confirm } from "./ask.ts";
import { addCommand, addGroup, type Command, type Common, examples, Option, pair, whole } from "./command.ts";
import { CliError, exits } from "./errors.ts";
import { follow } from "./follow.ts";
import { clock, count, note, paint, print, printFacts, printJson, printTable, when } from "./output.ts";
import { jobBody, type JobOptions, jobOptions, printEstimate } from "./plan.ts";
import { duration, sparkline, usd } from "./progress_bar.ts";
import { openSession, type Session } from "./session.ts";

/** The client's types leave out what is always null. */
export type Job = Omit<Schemas["FineTuningJob"], "integrations">;

export function addJobs(program: Command): void {
  const jobs = addGroup(program, "jobs", "Fine-tuning jobs");
  const created = addCommand(
    jobs,
    "create <training-file>",
    "Show a job's plan and price, ask, and create it",
  );
  examples(
    jobOptions(created)
      .option("-y, --yes", "create it without asking")
      .option("--no-start", "check and price it, and let it wait for `jobs start`")
      .option("--follow", "follow it to its end")
      .action(create),
    "jobs create rows.jsonl --model SmolLM2-135M-Instruct --epochs 3 --follow",
    "jobs create file-0192… --set lora_alpha=32 --spend-cap 5 --yes --json",
  );
  addCommand(jobs, "list", "List jobs, the newest first")
    .addOption(new Option("--status <status>", "only those").choices(jobStatuses))
    .option("--model <model>", "only of this base model")
    .option("--metadata <key=value>", "only with this; may be repeated", pair)
    .option("--limit <n>", "how many", whole(1), 20)
    .option("--after <id>", "those after this one")
    .action(list);
  addCommand(jobs, "get <job>", "Show a job").action(get);
  for (
    const [move, description] of [
      ["cancel", "Cancel a job; final at once"],
      ["pause", "Pause a job; a running one saves a checkpoint first"],
      ["resume", "Go on with a paused job"],
      ["start", "Start a job that was created with --no-start"],
    ] as const
  ) addCommand(jobs, `${move} <job>`, description).action(moveJob(move));
  examples(
    addCommand(
      jobs,
      "follow <job>",
      "Follow a job to its end; the exit code says how it ended",
    ).action(followJob),
    "jobs follow ftjob-0192…",
  );
  addCommand(jobs, "events <job>", "A job's log")
    .option("--limit <n>", "how many of the newest", whole(1), 50)
    .option("--after <id>", "those before this one in time")
    .action(events);
  addCommand(jobs, "metrics <job>", "Loss, learning rate and speed over the whole run")
    .option("--points <n>", "how many steps to show, at least 10", whole(10), 20)
    .action(metrics);
  addCommand(jobs, "checkpoints <job>", "The newest checkpoints").action(checkpoints);
}

async function create(
  training: string,
  options: JobOptions & { yes?: boolean; follow?: boolean },
): Promise<void> {
  const asks = !options.yes && options.start !== false;
  if (asks && !canAsk()) {
    throw new CliError(
      "This costs money, and there is no terminal to ask at. Add --yes, or see the price first: `tunebase estimate`.",
      exits.usage,
    );
  }
  const session = await openSession();
  const body = await jobBody(session, training, options);
  if (!options.json || asks) {
    const estimate = unwrap(await session.api.POST("/fine_tuning/estimates", { body }));
    if (!options.json) printEstimate(estimate, body);
    const price = estimate.cost.usd;
    const about = price === null ? "" : ` for about ${usd(price.expected)}, at most about ${usd(price.high)}`;
    if (asks && !await confirm(`Start this job${about}?`)) {
      throw new CliError(`Not created. The data stays on the server as ${body.training_file}.`);
    }
  }
  const job = unwrap(await session.api.POST("/fine_tuning/jobs", { body }));
  if (options.follow && options.start !== false) {
    if (!options.json) print(`Created ${job.id}.`);
    return await followed(session, job.id, options);
  }
  if (options.json) return printJson(job);
  print(`Created ${job.id} (${job.status.replaceAll("_", " ")}).`);
  note(`Next: tunebase jobs ${options.start === false ? "start" : "follow"} ${job.id}`);
}

async function list(
  options: Common & {
    status?: typeof jobStatuses[number];
    model?: string;
    metadata?: Record<string, string>;
    limit: number;
    after?: string;
  },
): Promise<void> {
  const { api } = await openSession();
  const { limit, status, model, after, metadata = {} } = options;
  const byMetadata = Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [`metadata[${key}]`, value]),
  );
  const page = unwrap(
    await api.GET("/fine_tuning/jobs", {
      params: {
        query: {
          limit,
          ...(after ? { after } : {}),
          ...(status ? { status } : {}),
          ...(model ? { model } : {}),
          ...byMetadata,
        },
      },
    }),
  );
  if (options.json) return printJson(page);
  if (page.data.length === 0) {
    return note("No jobs. `tunebase jobs create rows.jsonl` makes one.");
  }
  printTable([
    ["ID", "STATUS", "%", "MODEL", "LOSS", "COST", "CREATED"],
    ...page.data.map((job) => [
      job.id,
      job.status,
      String(Math.floor(job.progress)),
      job.model,
      job.training_loss === null ? "" : job.training_loss.toFixed(3),
      usd(job.cost_usd),
      when(job.created_at),
    ]),
  ]);
  if (page.has_more) note(`More: --after ${page.last_id}`);
}

async function get(id: string, options: Common): Promise<void> {
  const { api } = await openSession();
  const job = unwrap(await api.GET("/fine_tuning/jobs/{id}", { params: { path: { id } } }));
  if (options.json) printJson(job);
  else printJob(job);
}

function printJob(job: Job): void {
  const cap = job.spend_cap_usd;
  printFacts([
    ["id", job.id],
    ["status", [job.status.replaceAll("_", " "), job.status_reason].filter(Boolean).join(": ")],
    ["queue position", job.queue === null ? null : String(job.queue.position_in_project)],
    ["stage", job.stage?.replaceAll("_", " ")],
    [
      "progress",
      `${Math.floor(job.progress)} %${
        job.current_step === null
          ? ""
          : `, step ${job.current_step}${job.total_steps ? ` of ${job.total_steps}` : ""}`
      }`,
    ],
    ["loss", job.training_loss?.toFixed(4)],
    ["model", job.model],
    ["fine-tuned", job.fine_tuned_model],
    ["data", [job.training_file, job.validation_file].filter(Boolean).join(", ")],
    ["results", job.result_files.join(", ")],
    ["settings", Object.entries(job.hyperparameters).map(([name, value]) => `${name} ${value}`).join(", ")],
    [
      "cost",
      `${usd(job.cost_usd)}${cap === null ? "" : `, capped at ${usd(cap)}`}`,
    ],
    ["created", when(job.created_at)],
    ["started", job.started_at === null ? null : when(job.started_at)],
    ["finished", job.finished_at === null ? null : when(job.finished_at)],
    [
      "took",
      job.started_at === null || job.finished_at === null ? null : duration(job.finished_at - job.started_at),
    ],
    ["error", job.error === null ? null : paint.red(job.error.message)],
    ["do", job.error?.hint],
  ]);
}

const said = {
  cancel: "is cancelled",
  pause: "is being paused",
  resume: "goes on",
  start: "is started",
} as const;

const moveJob = (move: keyof typeof said) => async (id: string, options: Common): Promise<void> => {
  const { api } = await openSession();
  const job = unwrap(await api.POST(`/fine_tuning/jobs/{id}/${move}`, { params: { path: { id } } }));
  if (options.json) return printJson(job);
  print(`${job.id} ${move === "pause" && job.status === "paused" ? "is paused" : said[move]}.`);
};

async function followJob(id: string, options: Common): Promise<void> {
  await followed(await openSession(), id, options);
}

async function followed(session: Session, id: string, options: Common): Promise<void> {
  process.exitCode = await follow(session, id, Boolean(options.json));
}

async function events(id: string, options: Common & { limit: number; after?: string }): Promise<void> {
  const session = await openSession();
  const page = await listEvents(session, id, {
    limit: options.limit,
    ...(options.after ? { after: options.after } : {}),
  });
  if (options.json) return printJson(page);
  // The API has the newest first; people read downwards.
  for (const event of page.data.toReversed()) print(eventLine(event));
  if (page.has_more) note(`Earlier ones: --after ${page.last_id}`);
}

/** A page of a job's events, the newest first. */
export async function listEvents({ api }: Session, id: string, query: { limit: number; after?: string }) {
  const page = unwrap(await api.GET("/fine_tuning/jobs/{id}/events", { params: { path: { id }, query } }));
  if (typeof page === "string") {
    throw new Error("The server answered with a stream that was not asked for.");
  }
  return page;
}

/** "01:54:07  step 10 …", with its level where it is more than information. */
export function eventLine(event: Schemas["FineTuningJobEvent"]): string {
  const level = event.level === "info"
    ? ""
    : paint[event.level === "warn" ? "yellow" : "red"](`${event.level}: `);
  return `${paint.dim(clock(event.created_at))}  ${level}${event.message}`;
}

async function metrics(id: string, options: Common & { points: number }): Promise<void> {
  const { api } = await openSession();
  const found = unwrap(
    await api.GET("/fine_tuning/jobs/{id}/metrics", {
      params: { path: { id }, query: { points: options.points } },
    }),
  );
  if (options.json) return printJson(found);
  if (found.data.length === 0) {
    return note("No metrics yet: the first come when training has begun.");
  }
  const number = (value: number | null, digits: number) => value === null ? "" : value.toFixed(digits);
  printTable([
    ["STEP", "EPOCH", "LOSS", "VALIDATION", "RATE", "GRADIENT", "TOKENS/S", "GPU %", "GPU GB"],
    ...found.data.map((point) => [
      count(point.step),
      point.epoch.toFixed(2),
      number(point.training_loss, 4),
      number(point.validation_loss, 4),
      point.learning_rate === null ? "" : point.learning_rate.toExponential(2),
      number(point.gradient_norm, 3),
      number(point.tokens_per_second, 0),
      number(point.gpu_utilization, 0),
      number(point.gpu_memory_gb, 1),
    ]),
  ]);
  const line = sparkline(found.data.flatMap(({ training_loss }) => training_loss ?? []), 60);
  if (line !== "") note(`loss ${line}`);
  if (found.total > found.data.length) {
    note(`${count(found.data.length)} of ${count(found.total)} steps; --points shows more.`);
  }
}

async function checkpoints(id: string, options: Common): Promise<void> {
  const { api } = await openSession();
  const page = unwrap(await api.GET("/fine_tuning/jobs/{id}/checkpoints", { params: { path: { id } } }));
  if (options.json) return printJson(page);
  if (page.data.length === 0) return note("No checkpoints yet.");
  printTable([
    ["ID", "STEP", "LOSS", "VALIDATION", "CREATED"],
    ...page.data.map((one) => [
      one.id,
      count(one.step_number),
      one.metrics.train_loss?.toFixed(4) ?? "",
      one.metrics.valid_loss?.toFixed(4) ?? "",
      when(one.created_at),
    ]),
  ]);
  note(`One's files: tunebase adapter download ${id} --checkpoint <id>`);
}
