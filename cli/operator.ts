/**
 * `task operator`: prints the secrets and SQL statements that an operator needs for a hosted Supabase project. It changes
 * nothing, and connects to nothing but the Hugging Face hub (`models`).
 */
import { loadCatalog } from "../deploy/catalog.ts";
import { compareWithHub, type DescribedModel, describeModel, toToml } from "../deploy/describe_model.ts";
import { DeployError } from "../deploy/errors.ts";
import { expectedThroughput, pools } from "../deploy/gpus.ts";
import { inferenceSecretPurpose } from "../supabase/functions/_shared/contracts/inference_token.ts";
import { metricsSecretPurpose } from "../supabase/functions/_shared/contracts/installation_metrics.ts";
import { deriveSecret, sha256Hex } from "../supabase/functions/_shared/secrets.ts";

export const help = `Prints secrets, and SQL to run in the Supabase project's SQL editor.

  npx -y deno@2.9.6 task operator master-key               generates a TUNEBASE_MASTER_KEY
  npx -y deno@2.9.6 task operator scheduler-secret         derives the scheduler's secret from TUNEBASE_MASTER_KEY
  npx -y deno@2.9.6 task operator metrics-secret           derives the secret of GET /metrics from TUNEBASE_MASTER_KEY
  npx -y deno@2.9.6 task operator owner EMAIL [--name N]   creates a project for a user
  npx -y deno@2.9.6 task operator api-key EMAIL            generates an API key, and the SQL that stores its hash
  npx -y deno@2.9.6 task operator signup invite|open       sets who can create projects: owners only, or every user
  npx -y deno@2.9.6 task operator spend-cap USD|none       sets the monthly spend cap of new projects
    --max                                                  sets the highest cap that an owner can choose instead
    --project proj_…                                       sets the cap of this project instead
  npx -y deno@2.9.6 task operator inference MODEL          serves a base model and its fine-tunes
    --endpoint ID|none                                     RunPod load-balancing endpoint (none: stops serving)
    --max-rank N, --max-length N                           as its vLLM is started
    --input USD, --output USD                              price per million tokens
    --hourly USD                                           price per hour of answering requests
  npx -y deno@2.9.6 task operator inference-secret ID      derives an endpoint's TUNEBASE_INFERENCE_SECRET from TUNEBASE_MASTER_KEY
  npx -y deno@2.9.6 task operator models add HUB_ID        describes a model of the Hugging Face hub, as a file for models/
    --sql                                                  prints the SQL that adds the base model instead
    --hourly USD                                           price per GPU hour, for --sql
    --endpoint ID                                          RunPod endpoint that trains it (default: RUNPOD_ENDPOINT_ID)
  npx -y deno@2.9.6 task operator models check [ID…]       compares the files of models/ with the Hugging Face hub`;

/** An invalid command line. */
export class UsageError extends Error {}

/** Returns what the command prints. Throws a UsageError, or a DeployError that says what to do. */
export async function operator(
  args: string[],
  masterKey: string | undefined,
  hubToken: string | null = null,
): Promise<string> {
  const [command, ...rest] = args;
  switch (command) {
    case "--help":
      return help;
    case "master-key":
      rejectExtra(rest);
      return randomBase64();
    case "scheduler-secret":
      rejectExtra(rest);
      return deriveSecret(requireMasterKey(masterKey), "scheduler");
    case "metrics-secret":
      rejectExtra(rest);
      return deriveSecret(requireMasterKey(masterKey), metricsSecretPurpose);
    case "owner":
      return owner(rest);
    case "api-key":
      return apiKey(rest);
    case "signup":
      return signup(rest);
    case "spend-cap":
      return spendCap(rest);
    case "inference":
      return inference(rest);
    case "inference-secret":
      return deriveSecret(requireMasterKey(masterKey), inferenceSecretPurpose(endpoint(rest.shift())));
    case "models":
      return await models(rest, hubToken);
    default:
      throw new UsageError(command === undefined ? "Missing command." : `Unknown command: ${command}.`);
  }
}

function owner([email, ...rest]: string[]): string {
  const name = option(rest, "--name");
  rejectExtra(rest);
  return `select tunebase_internal.add_owner(${literal(address(email))}${
    name === undefined ? "" : `, ${literal(name)}`
  });`;
}

function apiKey([email, ...rest]: string[]): string {
  rejectExtra(rest);
  const user = literal(address(email));
  const key = `tb_${randomBase64().replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
  const hint = `${key.slice(0, 6)}…${key.slice(-4)}`;
  return `${key}

Copy the key now: it is not shown again. Run this in the project's SQL editor:

select tunebase_internal.store_owner_api_key(
  ${user}, decode('${sha256Hex(key)}', 'hex'), '${hint}'
);`;
}

function signup([mode, ...rest]: string[]): string {
  rejectExtra(rest);
  if (mode === "invite") return "update tunebase_internal.settings set signup = 'invite';";
  if (mode !== "open") throw new UsageError("signup must be invite or open.");
  return `-- Every user of the host app can create projects and spend your money, up to each project's cap.
-- Unless you set --max, owners cannot raise their cap above the default.
update tunebase_internal.settings
set signup = 'open', default_spend_cap_usd = coalesce(default_spend_cap_usd, 50),
  max_spend_cap_usd = coalesce(max_spend_cap_usd, default_spend_cap_usd, 50);`;
}

function spendCap([amount, ...rest]: string[]): string {
  const isMax = flag(rest, "--max");
  const project = option(rest, "--project");
  rejectExtra(rest);
  if (isMax && project !== undefined) {
    throw new UsageError("spend-cap: --max and --project cannot be combined.");
  }
  const usd = money(amount);
  if (project === undefined) {
    return `update tunebase_internal.settings set ${isMax ? "max" : "default"}_spend_cap_usd = ${usd};`;
  }
  const id = /^proj_([0-9a-f]{32})$/.exec(project)?.[1];
  if (id === undefined) {
    throw new UsageError("--project must be a project ID: proj_ followed by 32 hexadecimal digits.");
  }
  return `update tunebase.projects set spend_cap_usd = ${usd}, budget_warned_month = null where id = '${id}';`;
}

function inference([model, ...rest]: string[]): string {
  if (model === undefined || model.startsWith("--")) throw new UsageError("Give the id of a base model.");
  const endpointId = option(rest, "--endpoint");
  const settings = {
    endpoint_id: endpointId === undefined || endpointId === "none"
      ? endpointId && "null"
      : literal(endpoint(endpointId)),
    max_rank: number(option(rest, "--max-rank"), "--max-rank", /^[1-9]\d{0,2}$/),
    max_length: number(option(rest, "--max-length"), "--max-length", /^[1-9]\d{1,6}$/),
    usd_per_million_input_tokens: price(rest, "--input"),
    usd_per_million_output_tokens: price(rest, "--output"),
    usd_per_hour: price(rest, "--hourly"),
  };
  rejectExtra(rest);
  const changes = Object.entries(settings).filter(([, value]) => value !== undefined);
  if (changes.length === 0) throw new UsageError("inference needs at least one option, such as --endpoint.");
  const set = changes.map(([name, value]) => `inference_${name} = ${value}`).join(",\n  ");
  return `update tunebase.base_models\nset ${set}\nwhere id = ${literal(model)};`;
}

async function models([action, ...rest]: string[], hubToken: string | null): Promise<string> {
  return action === "check" ? await checkModels(rest, hubToken) : await addModel(action, rest, hubToken);
}

/** A line per file of `models/`. Throws a DeployError with the lines if one differs from the hub. */
async function checkModels(ids: string[], hubToken: string | null): Promise<string> {
  const catalog = (await loadCatalog()).filter(({ source }) => !source.startsWith("package:"));
  const unknown = ids.find((id) => !catalog.some((model) => model.id === id));
  if (unknown !== undefined) {
    throw new UsageError(`models/ has no ${unknown}. It has: ${catalog.map(({ id }) => id).join(", ")}.`);
  }
  const chosen = catalog.filter(({ id }) => ids.length === 0 || ids.includes(id));
  let differs = false;
  const lines: string[] = [];
  for (const model of chosen) {
    const differences = await compareWithHub(model, hubToken);
    differs ||= differences.length > 0;
    lines.push(`${model.id}: ${differences.join("; ") || "as on the hub"}`);
  }
  if (differs) throw new DeployError(lines.join("\n"), "Correct the files in models/.");
  return lines.join("\n");
}

async function addModel(
  action: string | undefined,
  [hubId, ...rest]: string[],
  hubToken: string | null,
): Promise<string> {
  if (action !== "add" || hubId === undefined || !/^[\w.-]+\/[\w.-]+$/.test(hubId)) {
    throw new UsageError(
      "Give a model of the Hugging Face hub: models add OWNER/NAME. Or compare all: models check.",
    );
  }
  const isSql = flag(rest, "--sql");
  const hourly = price(rest, "--hourly");
  const endpointId = option(rest, "--endpoint");
  rejectExtra(rest);
  if (isSql !== (hourly !== undefined) || (!isSql && endpointId !== undefined)) {
    throw new UsageError("--sql needs --hourly, and --hourly and --endpoint need --sql.");
  }
  const model = await describeModel(hubId, hubToken);
  return hourly === undefined
    ? `# Save as models/${model.id}.toml, then: npx -y deno@2.9.6 task deploy --models …,${model.id}\n${
      toToml(model)
    }`
    : insertModel(model, hourly, endpointId === undefined ? "null" : literal(endpoint(endpointId)));
}

function insertModel(model: DescribedModel, hourly: string, endpointId: string): string {
  const { architecture, training } = model;
  const [pool = ""] = training.pools;
  const memory = pools.find(({ id }) => id === pool)?.memory ?? 0;
  const gpu = { gpu_type: pool, num_gpus: 1, gpu_memory_gb: memory, cost_per_gpu_hour: Number(hourly) };
  const columns = {
    id: literal(model.name),
    source: literal(model.source),
    revision: literal(model.revision),
    owned_by: literal(model.owned_by),
    endpoint_id: endpointId,
    gpu_config: literal(JSON.stringify(gpu)),
    defaults: literal(JSON.stringify(training.defaults)),
    max_length: Math.min(131_072, architecture.context),
    tokens_per_second: expectedThroughput(architecture, pool) ?? "null",
    parameters: architecture.parameters,
    hidden_size: architecture.hidden_size,
    layers: architecture.layers,
    vocab_size: architecture.vocab_size,
  };
  return `-- Train it on ${training.pools.join(", ")}. The speed is calculated; set what you measure.
insert into tunebase.base_models (
  ${Object.keys(columns).join(", ")}
) values (
  ${Object.values(columns).join(",\n  ")}
);`;
}

function endpoint(id: string | undefined): string {
  if (id !== undefined && /^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/.test(id)) return id;
  throw new UsageError("Give the id of a RunPod endpoint, such as 4x0kfy2q7b9d1m.");
}

const price = (args: string[], name: string) => number(option(args, name), name, /^\d{1,5}(\.\d{1,6})?$/);

function number(text: string | undefined, name: string, pattern: RegExp): string | undefined {
  if (text !== undefined && !pattern.test(text)) {
    throw new UsageError(`${name} must be a number, not ${text}.`);
  }
  return text;
}

function money(text: string | undefined): string {
  if (text === "none") return "null";
  if (text !== undefined && /^\d{1,7}(\.\d{1,4})?$/.test(text) && Number(text) > 0) return text;
  throw new UsageError("spend-cap must be an amount in USD, such as 50 or 12.5, or none for no cap.");
}

function address(email: string | undefined): string {
  if (email === undefined || !/^[^\s@]+@[^\s@]+$/.test(email)) {
    throw new UsageError("Give the email address that the user signed up with.");
  }
  return email;
}

/** An SQL string literal. Relies on standard_conforming_strings, where a backslash has no special meaning. */
function literal(text: string): string {
  if (text.includes("\0")) throw new UsageError("Text cannot contain NUL characters.");
  return `'${text.replaceAll("'", "''")}'`;
}

function requireMasterKey(masterKey: string | undefined): string {
  const fix = "Set it to the installation's key. After `task deploy`, print it in the SQL editor with: " +
    "select decrypted_secret from vault.decrypted_secrets where name = 'tunebase_master_key'";
  if (!masterKey) throw new DeployError("TUNEBASE_MASTER_KEY is not set.", fix);
  if (!/^[A-Za-z0-9+/]{43}=$/.test(masterKey)) {
    throw new DeployError("TUNEBASE_MASTER_KEY must be 32 bytes in base64.", fix);
  }
  return masterKey;
}

/** Removes `name VALUE` from `args` and returns the value. */
function option(args: string[], name: string): string | undefined {
  const at = args.indexOf(name);
  if (at < 0) return undefined;
  const [, value] = args.splice(at, 2);
  if (value === undefined) throw new UsageError(`${name} needs a value.`);
  return value;
}

function flag(args: string[], name: string): boolean {
  const at = args.indexOf(name);
  if (at >= 0) args.splice(at, 1);
  return at >= 0;
}

function rejectExtra(args: string[]): void {
  if (args.length > 0) throw new UsageError(`Unexpected arguments: ${args.join(" ")}.`);
}

const randomBase64 = () => btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));

if (import.meta.main) {
  try {
    const hubToken = Deno.env.get("HF_TOKEN") || null;
    console.log(await operator(Deno.args, Deno.env.get("TUNEBASE_MASTER_KEY"), hubToken));
  } catch (error) {
    if (error instanceof DeployError) {
      console.error(`${error.message}\n${error.fix}`);
      Deno.exit(1);
    }
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\n\n${help}`);
    Deno.exit(2);
  }
}
