/** What a job is to be: the options that say it, the body they make, and its estimate for people. */
import { access } from "node:fs/promises";
import { type Schemas, unwrap } from "../client/mod.ts";
import {
  apiFields,
  apiName,
  field,
  type HyperparameterField,
} from "../supabase/functions/_shared/contracts/hyperparameters.ts";
import { type Command, type Common, InvalidArgumentError, Option, pair, positive, whole } from "./command.ts";
import { CliError, exits } from "./errors.ts";
import { count, paint, printFacts } from "./output.ts";
import { duration, usd } from "./progress_bar.ts";
import type { Session } from "./session.ts";
import type { AnswerOf, BodyOf } from "./types.ts";
import { uploadFile } from "./upload.ts";

/** Of `hyperparameters`, those with an option of their own. */
const optioned = apiFields.flatMap((name) => {
  const { cli } = field(name);
  return cli === undefined ? [] : [{ name, cli }];
});

export interface JobOptions extends Common {
  model?: string;
  validation?: string;
  set?: Record<string, string>;
  suffix?: string;
  seed?: number;
  metadata?: Record<string, string>;
  spendCap?: number;
  start?: boolean;
}

export type Body = BodyOf<"createJob">;
type Parameters = NonNullable<Body["hyperparameters"]>;
export type Estimate = AnswerOf<"createEstimate">;

/** Options that `estimate` and `jobs create` share. */
export function jobOptions(command: Command): Command {
  command
    .option("-m, --model <model>", "base model to fine-tune (default: the only one available)")
    .option("--validation <file>", "validation rows: a path, or a file's id");
  for (const { name, cli } of optioned) {
    command.option(`${cli.flag} <${cli.value}>`, cli.help, reader(field(name)));
  }
  return command
    .option("--set <name=value>", "any other hyperparameter, such as lora_alpha=32; may be repeated", pair)
    .option("--suffix <text>", "part of the fine-tuned model's name")
    .option("--seed <n>", "for the order of the rows and the adapter's start", whole())
    .option("--metadata <key=value>", "to find the job by; may be repeated", pair)
    .option("--spend-cap <usd>", "end the job when it has cost so much", positive);
}

/** Reads an option's value; the API checks the range, and says it. */
function reader(of: HyperparameterField): (text: string) => unknown {
  const read = of.kind === "integer" ? whole(1) : positive;
  return of.auto ? autoOr(read) : read;
}
const autoOr = (read: (text: string) => number) => (text: string) => {
  try {
    return text === "auto" ? text : read(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) {
      throw new InvalidArgumentError(`${error.message} Or "auto".`);
    }
    throw error;
  }
};

/** The request's body; uploads what is named by a path. */
export async function jobBody(session: Session, training: string, options: JobOptions): Promise<Body> {
  const model = options.model ?? await onlyModel(session);
  const file = await fileOf(session, training, options);
  const validation = options.validation === undefined
    ? null
    : await fileOf(session, options.validation, options);
  const values: Record<string, unknown> = { ...options };
  // What an option does not name is passed on as it is: the API knows it, or says what it knows.
  const others = Object.entries(options.set ?? {}).map(([name, value]) => [name, jsonOrText(value)] as const);
  const named = optioned.map(({ name, cli }) => [apiName(name), values[optionKey(cli.flag)]] as const)
    .filter(([, value]) => value !== undefined);
  const hyperparameters = Object.fromEntries([...named, ...others]) as Parameters;
  return {
    model,
    training_file: file.id,
    ...(validation === null ? {} : { validation_file: validation.id }),
    // Rows of two answers each say by themselves what is to be done with them.
    ...(file.report?.format === "preference" ? { method: { type: "dpo" as const } } : {}),
    ...(named.length + others.length === 0 ? {} : { hyperparameters }),
    ...(options.suffix === undefined ? {} : { suffix: options.suffix }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
    ...(options.spendCap === undefined ? {} : { spend_cap_usd: options.spendCap }),
    ...(options.start === false ? { auto_start: false } : {}),
  };
}

/** Where commander keeps an option: `--lora-rank` as `loraRank`. */
const optionKey = (flag: string) => new Option(flag).attributeName();

/** `32`, `true` and `["merged"]` are what they look like; the rest is a text. */
function jsonOrText(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

async function onlyModel({ api }: Session): Promise<string> {
  const models = unwrap(await api.GET("/models")).data.filter((model) => "gpu" in model).map(({ id }) => id);
  const [only, ...more] = models;
  if (only === undefined) {
    throw new CliError("This server offers no model. Its operator must add one.");
  }
  if (more.length > 0) {
    throw new CliError(`Name the model with --model. On offer: ${models.join(", ")}.`, exits.usage);
  }
  return only;
}

async function fileOf(session: Session, named: string, options: JobOptions): Promise<Schemas["File"]> {
  if (/^file-[0-9a-f]{32}$/.test(named)) {
    return unwrap(await session.api.GET("/files/{id}", { params: { path: { id: named } } }));
  }
  try {
    await access(named);
  } catch (cause) {
    throw new CliError(
      `${named} is neither a file here nor a file's id. \`tunebase files list\` lists those on the server.`,
      exits.failed,
      { cause },
    );
  }
  return await uploadFile(session, named, { quiet: options.json });
}

/** The estimate for people. */
export function printEstimate(estimate: Estimate, body: Body): void {
  const { tokens, rows, steps, time, cost, memory, hyperparameters } = estimate;
  const epochs = hyperparameters.n_epochs;
  printFacts([
    ["model", estimate.model],
    ["data", body.training_file],
    ["validation", body.validation_file],
    [
      "rows",
      [
        span(rows.total, count),
        rows.truncated.high > 0 ? `${span(rows.truncated, count)} are cut` : null,
        rows.skipped.high > 0 ? `${span(rows.skipped, count)} have nothing to learn from` : null,
      ].filter(Boolean).join("; "),
    ],
    ["tokens", `${span(tokens.total, count)} in ${epochs} epochs (${tokens.method})`],
    ["steps", `${count(steps.total)}, ${count(steps.per_epoch)} an epoch`],
    [
      "settings",
      Object.entries(hyperparameters).filter(([name]) => name !== "n_epochs")
        .map(([name, value]) => `${name} ${value}`).join(", "),
    ],
    ["time", time.seconds === null ? time.basis : span(time.seconds, duration)],
    ["cost", cost.usd === null ? cost.basis : paint.bold(span(cost.usd, usd))],
    [
      "memory",
      memory.required_gb === null
        ? memory.basis
        : `about ${memory.required_gb.expected} GB${
          memory.available_gb === null ? "" : ` of ${memory.available_gb} GB`
        }`,
    ],
  ]);
  for (const warning of estimate.warnings) {
    printFacts([["note", paint.yellow(warning)]]);
  }
}

interface Range {
  low: number;
  expected: number;
  high: number;
}

/** "3:20 min (2:50 min to 5:01 min)", or the value alone where it is certain. */
export function span(range: Range, show: (value: number) => string): string {
  const [low, expected, high] = [range.low, range.expected, range.high].map(show);
  return low === high ? `${expected}` : `${expected} (${low} to ${high})`;
}
