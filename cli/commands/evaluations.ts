/** `eval` and `evaluations`: compares models over the rows of a file. */
import process from "node:process";
import { type Schemas, unwrap } from "../../client/mod.ts";
import { graderName } from "../../supabase/functions/_shared/contracts/evaluation.ts";
import { findPatternProblem } from "../../supabase/functions/_shared/contracts/patterns.ts";
import { checkMetadata } from "../api/metadata.ts";
import { findBase, requireModel, resolveModel } from "../api/models.ts";
import { openSession, type Session, sleep } from "../api/session.ts";
import type { BodyOf } from "../api/types.ts";
import {
  addCommand,
  addExamples,
  addGroup,
  type Command,
  type CommonOptions,
  parseInteger,
  parsePair,
  parseTemperature,
} from "../command.ts";
import { CliError, exitCodes } from "../errors.ts";
import { formatCount, formatTime, formatUsd, humanize, pluralize } from "../terminal/format.ts";
import { print, printFields, printJson, printNote, printTable, stdoutColors } from "../terminal/output.ts";
import { withAbortOnSigint } from "../terminal/sigint.ts";
import { StatusLine } from "../terminal/status_line.ts";
import { requireFiles, resolveFile } from "../transfers/named_file.ts";

type Evaluation = Schemas["Evaluation"];
type Grader = Schemas["EvaluationGrader"];

interface EvalOptions extends CommonOptions {
  base: boolean;
  compare: string[];
  rows?: number;
  contains: string[];
  regex: string[];
  temperature?: number;
  maxTokens?: number;
  name?: string;
  metadata?: Record<string, string>;
  wait: boolean;
}

const pollMs = 2000;
/** The API's limit. */
const maxModels = 4;
const collect = (text: string, previous: string[]) => [...previous, text];

export function addEvaluations(program: Command): void {
  const command = addCommand(
    program,
    "eval <model> <file>",
    "Compare a model with its base over the rows of a file (a path, a file ID, or - for stdin)",
  )
    .option("--no-base", "do not ask the base model")
    .option("--compare <model>", "also ask this model; can be repeated", collect, [])
    .option(
      "--rows <n>",
      "maximum number of rows, evenly spread over the file (default: 200)",
      parseInteger(1),
    )
    .option(
      "--contains <text>",
      "also count the answers that contain this text; can be repeated",
      collect,
      [],
    )
    .option("--regex <pattern>", "also count the answers that match; can be repeated", collect, [])
    .option("--temperature <n>", "0 (the default) always picks the likeliest token", parseTemperature)
    .option("--max-tokens <n>", "maximum length of an answer (default: 512)", parseInteger(1))
    .option("--name <text>", "name of the evaluation (default: the file's)")
    .option("--metadata <key=value>", "metadata; can be repeated", parsePair)
    .option("--no-wait", "do not wait for the results")
    .action(create);
  addExamples(
    command,
    "eval ft:SmolLM2-135M-Instruct:acme:support:0192… held-out.jsonl",
    "eval latest held-out.jsonl",
    'eval ft:…:v2 held-out.jsonl --compare ft:…:v1 --contains "refund"',
  );
  const evaluations = addGroup(program, "evaluations", "Manage evaluations");
  addCommand(evaluations, "list", "List evaluations, newest first")
    .option("--model <model>", "only evaluations of this model")
    .option("--limit <n>", "maximum number of evaluations", parseInteger(1), 20)
    .option("--after <id>", "show evaluations older than this ID")
    .action(list);
  addCommand(evaluations, "get <evaluation>", "Show an evaluation's scores").action(get);
  addCommand(evaluations, "rows <evaluation>", "Show each row's expected answer and the models' answers")
    .option("--limit <n>", "maximum number of rows", parseInteger(1), 20)
    .option("--after <id>", "show rows after this ID")
    .action(rows);
  addCommand(evaluations, "cancel <evaluation>", "Cancel an evaluation; its answers are kept").action(cancel);
  addCommand(evaluations, "delete <evaluation>", "Delete an evaluation").action(remove);
}

async function create(name: string, file: string, options: EvalOptions): Promise<void> {
  checkMetadata(options.metadata);
  for (const pattern of options.regex) {
    const problem = await findPatternProblem(pattern);
    if (problem !== null) {
      throw new CliError(`--regex ${JSON.stringify(pattern)}: it ${problem}.`, exitCodes.usage);
    }
  }
  const session = await openSession();
  await requireFiles(session, [file]);
  const model = await resolveModel(session, name);
  const base = options.base ? [await findBase(session, model)] : [];
  const models = [...new Set([model, ...base, ...options.compare])];
  if (models.length > maxModels) {
    throw new CliError(`An evaluation compares at most ${maxModels} models.`, exitCodes.usage);
  }
  for (const id of options.base ? options.compare : models) await requireModel(session, id);
  const graders: Grader[] = [
    ...options.contains.map((value) => ({ type: "contains" as const, value, ignore_case: false })),
    ...options.regex.map((pattern) => ({ type: "regex" as const, pattern, ignore_case: false })),
  ];
  const { id } = await resolveFile(session, file, options);
  const body: BodyOf<"createEvaluation"> = {
    models,
    file: id,
    ...(graders.length === 0 ? {} : { graders }),
    ...(options.rows === undefined ? {} : { max_rows: options.rows }),
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    ...(options.maxTokens === undefined ? {} : { max_completion_tokens: options.maxTokens }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
  };
  const evaluation = unwrap(await session.api.POST("/evaluations", { body }));
  if (!options.wait) {
    if (options.json) return printJson(evaluation);
    print(`Started ${evaluation.id}.`);
    return printNote(`For the results: tunebase evaluations get ${evaluation.id}`);
  }
  const ended = await waitFor(session, evaluation, Boolean(options.json));
  if (ended === null) return;
  if (options.json) printJson(ended);
  else printEvaluation(ended);
  if (ended.status !== "succeeded") process.exitCode = exitCodes.failed;
}

/** Shows the progress until the evaluation has ended. null: the user stopped waiting. */
async function waitFor(
  session: Session,
  evaluation: Evaluation,
  isQuiet: boolean,
): Promise<Evaluation | null> {
  const status = new StatusLine();
  return await withAbortOnSigint(async (signal) => {
    let current = evaluation;
    try {
      while (current.status === "running") {
        if (!isQuiet) status.show(`${describeProgress(current)} …`);
        await sleep(pollMs, signal);
        if (signal.aborted) {
          status.show(null);
          printNote(`The evaluation keeps running.
  results  tunebase evaluations get ${current.id}
  cancel   tunebase evaluations cancel ${current.id}`);
          process.exitCode = exitCodes.interrupted;
          return null;
        }
        current = await fetchEvaluation(session, current.id);
      }
      return current;
    } finally {
      status.show(null);
    }
  });
}

const describeProgress = ({ answered, rows, models }: Evaluation) =>
  `${formatCount(answered)} of ${pluralize(rows * models.length, "answer")}`;

const fetchEvaluation = async ({ api }: Session, id: string) =>
  unwrap(await api.GET("/evaluations/{id}", { params: { path: { id } } }));

async function list(
  options: CommonOptions & { model?: string; limit: number; after?: string },
): Promise<void> {
  const { api } = await openSession();
  const { limit, model, after } = options;
  const page = unwrap(
    await api.GET("/evaluations", {
      params: { query: { limit, ...(after ? { after } : {}), ...(model ? { model } : {}) } },
    }),
  );
  if (options.json) return printJson(page);
  if (page.data.length === 0) {
    return printNote("No evaluations. Start one with `tunebase eval <model> held-out.jsonl`.");
  }
  printTable([
    ["ID", "STATUS", "NAME", "MODEL", "ROWS", "EXACT", "CREATED"],
    ...page.data.flatMap((one) =>
      one.totals.map((totals, index) => [
        index === 0 ? one.id : "",
        index === 0 ? one.status : "",
        index === 0 ? one.name : "",
        totals.model,
        formatCount(totals.answered),
        share(totals.exact_match),
        index === 0 ? formatTime(one.created_at) : "",
      ])
    ),
  ]);
  if (page.has_more) printNote(`For more, add --after ${page.last_id}`);
}

async function get(id: string, options: CommonOptions): Promise<void> {
  const evaluation = await fetchEvaluation(await openSession(), id);
  if (options.json) printJson(evaluation);
  else printEvaluation(evaluation);
}

function printEvaluation(one: Evaluation): void {
  printFields([
    ["id", one.id],
    ["name", one.name],
    ["status", one.status === "running" ? `running: ${describeProgress(one)}` : humanize(one.status)],
    ["error", one.error === null ? null : stdoutColors.red(one.error.message)],
    ["rows", `${formatCount(one.rows)} of ${formatCount(one.file_rows)} in ${one.file}`],
  ]);
  print();
  // Columns that no model has a score for are left out.
  const columns: [string, (totals: Evaluation["totals"][number]) => string][] = [
    ["MODEL", ({ model }) => model],
    ["ANSWERS", ({ answered }) => formatCount(answered)],
    ["FAILED", ({ failed }) => failed === 0 ? "" : formatCount(failed)],
    ["EXACT", (totals) => share(totals.exact_match)],
    ["VALID JSON", (totals) => share(totals.valid_json)],
    ["FIELDS", (totals) => share(totals.field_accuracy)],
    ...one.graders.map((grader, index): typeof columns[number] => [
      graderName(grader).toUpperCase(),
      (totals) => share(totals.graders[index] ?? null),
    ]),
    ["TOKENS", ({ completion_tokens }) => formatCount(completion_tokens)],
    ["COST", ({ cost_usd }) => formatUsd(cost_usd)],
  ];
  const shown = columns.filter(([, cell]) => one.totals.some((totals) => cell(totals) !== ""));
  printTable([
    shown.map(([title]) => title),
    ...one.totals.map((totals) => shown.map(([, cell]) => cell(totals))),
  ]);
  printNote(`For each row's answers: tunebase evaluations rows ${one.id}`);
}

const share = (value: number | null) => value === null ? "" : `${Math.round(value * 1000) / 10}%`;

async function rows(id: string, options: CommonOptions & { limit: number; after?: string }): Promise<void> {
  const { api } = await openSession();
  const { limit, after } = options;
  const page = unwrap(
    await api.GET("/evaluations/{id}/rows", {
      params: { path: { id }, query: { limit, ...(after ? { after } : {}) } },
    }),
  );
  if (options.json) return printJson(page);
  for (const row of page.data) {
    print(stdoutColors.bold(`line ${row.line}`));
    printFields([
      ["expected", row.expected],
      ...row.answers.map((answer): [string, string] => [
        `${answer.exact_match ? "✓" : "✗"} ${answer.model}`,
        answer.answer ?? stdoutColors.red(answer.error ?? ""),
      ]),
    ]);
  }
  if (page.has_more) printNote(`For more, add --after ${page.last_id}`);
}

async function cancel(id: string, options: CommonOptions): Promise<void> {
  const { api } = await openSession();
  const evaluation = unwrap(await api.POST("/evaluations/{id}/cancel", { params: { path: { id } } }));
  if (options.json) printJson(evaluation);
  else print(`${evaluation.status === "cancelled" ? "Cancelled" : "Already ended:"} ${evaluation.id}.`);
}

async function remove(id: string, options: CommonOptions): Promise<void> {
  const { api } = await openSession();
  const deleted = unwrap(await api.DELETE("/evaluations/{id}", { params: { path: { id } } }));
  if (options.json) printJson(deleted);
  else print(`Deleted ${deleted.id}.`);
}
