/** The options that describe a job, and the request body built from them. */
import { unwrap } from "../../client/mod.ts";
import { findHubRepositoryProblem } from "../../supabase/functions/_shared/contracts/hub_repository.ts";
import { limits } from "../../supabase/functions/_shared/contracts/limits.ts";
import type { Session } from "../api/session.ts";
import { requireModel } from "../api/models.ts";
import type { BodyOf } from "../api/types.ts";
import {
  type Command,
  type CommonOptions,
  InvalidArgumentError,
  parseInteger,
  parsePair,
} from "../command.ts";
import { checkMetadata } from "../api/metadata.ts";
import { CliError, exitCodes } from "../errors.ts";
import { requireFiles, resolveFile } from "../transfers/named_file.ts";
import { addHyperparameterOptions, readHyperparameters } from "./hyperparameter_options.ts";

export interface JobOptions extends CommonOptions {
  model?: string;
  validation?: string;
  set?: Record<string, string>;
  suffix?: string;
  seed?: number;
  metadata?: Record<string, string>;
  spendCap?: number;
  start?: boolean;
  pushToHub?: string;
  hubPublic?: boolean;
}

export type JobRequest = BodyOf<"createJob">;
type Hyperparameters = NonNullable<JobRequest["hyperparameters"]>;

/** Adds the options that `estimate` and `jobs create` share. */
export function addJobOptions(command: Command): Command {
  command
    .option("-m, --model <model>", "base model to fine-tune (default: the only one available)")
    .option("--validation <file>", "validation data: a path, a file ID, or - for stdin");
  addHyperparameterOptions(command);
  return command
    .option(
      "--set <name=value>",
      "set another hyperparameter, such as lora_alpha=32; can be repeated",
      parsePair,
    )
    .option("--suffix <text>", "suffix of the fine-tuned model's name", parseSuffix)
    .option("--seed <n>", "random seed for shuffling and adapter initialization", parseInteger())
    .option("--metadata <key=value>", "metadata to find the job by; can be repeated", parsePair)
    .option("--spend-cap <usd>", "stop the job when it reaches this cost", parseSpendCap)
    .option(
      "--push-to-hub <repository>",
      "push the adapter to the Hugging Face Hub, to a repository such as acme/support-bot, if the server allows it",
      parseHubRepository,
    )
    .option("--hub-public", "with --push-to-hub: create a public repository, or push to one that is public");
}

function parseSuffix(text: string): string {
  if (!new RegExp(`^[A-Za-z0-9._-]{1,${limits.suffixLength}}$`).test(text)) {
    throw new InvalidArgumentError(
      `It must be 1 to ${limits.suffixLength} of the characters A–Z a–z 0–9 . _ -`,
    );
  }
  return text;
}

function parseHubRepository(text: string): string {
  const problem = findHubRepositoryProblem(text);
  if (problem !== null) throw new InvalidArgumentError(`It ${problem}.`);
  return text;
}

function parseSpendCap(text: string): number {
  const value = Number(text);
  if (!(value >= limits.minSpendCapUsd && value <= limits.maxSpendCapUsd)) {
    throw new InvalidArgumentError(
      `It must be an amount in dollars from ${limits.minSpendCapUsd} to ${limits.maxSpendCapUsd}.`,
    );
  }
  return value;
}

/** The request body. Uploads the files given by path, after every argument has been checked. */
export async function buildJobRequest(
  session: Session,
  trainingFile: string,
  options: JobOptions,
): Promise<JobRequest> {
  const hyperparameters = readHyperparameters({ ...options }, options.set) as Hyperparameters;
  const named = [trainingFile, ...(options.validation === undefined ? [] : [options.validation])];
  checkMetadata(options.metadata);
  if (options.hubPublic && options.pushToHub === undefined) {
    throw new CliError("--hub-public needs --push-to-hub.", exitCodes.usage);
  }
  await requireFiles(session, named);
  const model = options.model === undefined ? await findOnlyModel(session) : options.model;
  if (options.model !== undefined) await requireModel(session, options.model);
  const training = await resolveFile(session, trainingFile, options);
  const validation = options.validation === undefined
    ? null
    : await resolveFile(session, options.validation, options);
  return {
    model,
    training_file: training.id,
    ...(validation === null ? {} : { validation_file: validation.id }),
    // Preference rows are always trained with DPO.
    ...(training.report?.format === "preference" ? { method: { type: "dpo" as const } } : {}),
    ...(Object.keys(hyperparameters).length === 0 ? {} : { hyperparameters }),
    ...(options.suffix === undefined ? {} : { suffix: options.suffix }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
    ...(options.spendCap === undefined ? {} : { spend_cap_usd: options.spendCap }),
    ...(options.pushToHub === undefined ? {} : {
      integrations: [{
        type: "huggingface" as const,
        huggingface: { repo: options.pushToHub, private: !options.hubPublic },
      }],
    }),
    ...(options.start === false ? { auto_start: false } : {}),
  };
}

async function findOnlyModel({ api }: Session): Promise<string> {
  const models = unwrap(await api.GET("/models")).data.filter((model) => "gpu" in model).map(({ id }) => id);
  const [only, ...others] = models;
  if (only === undefined) {
    throw new CliError("No base models are available. Ask the server's operator to add one.");
  }
  if (others.length > 0) {
    throw new CliError(`Choose a model with --model. Available: ${models.join(", ")}.`, exitCodes.usage);
  }
  return only;
}
