/** Creates a catalog entry for a model on the Hugging Face hub: dimensions from its config.json, GPUs from the memory model. */
import * as z from "zod";
import type { Model } from "./catalog.ts";
import { DeployError } from "./errors.ts";
import { suggestInferencePools, suggestTrainingPools } from "./gpus.ts";
import { hubFile, hubModel } from "./hub.ts";

const count = z.int().min(1);
const Config = z.object({
  model_type: z.string(),
  hidden_size: count,
  num_hidden_layers: count,
  vocab_size: count,
  max_position_embeddings: count,
  // Mixtures of experts; the names differ by architecture.
  num_experts: count.optional(),
  num_local_experts: count.optional(),
  num_experts_per_tok: count.optional(),
  moe_intermediate_size: count.optional(),
  intermediate_size: count.optional(),
});
const dimensions = {
  hidden_size: true,
  num_hidden_layers: true,
  vocab_size: true,
  max_position_embeddings: true,
} as const;
type Config = z.infer<typeof Config>;

/** A multimodal model has its text model's dimensions in a nested object, some of them omitted as defaults. */
const Dimensions = z.union([
  z.object({ text_config: Config.pick(dimensions).partial() }).transform(({ text_config }) => text_config),
  Config.pick(dimensions).partial(),
]);

export interface DescribedModel extends Model {
  /** The hub's current commit. */
  revision: string;
}

/** Reads a model's record and config.json. Throws a DeployError if it cannot be trained. */
export async function describeModel(hubId: string, token: string | null): Promise<DescribedModel> {
  const { gated, safetensors, sha, siblings, tags } = await hubModel(hubId, token);
  const config = parseConfig(hubId, await hubFile(hubId, sha, "config.json", token));
  const parameters = safetensors?.total;
  if (parameters === undefined) {
    throw new DeployError(
      `The Hugging Face hub does not know how many parameters ${hubId} has.`,
      "Choose a repository with safetensors files.",
    );
  }
  const active = activeParameters(config, parameters);
  const architecture = {
    parameters,
    ...(active === null ? {} : { active_parameters: active }),
    hidden_size: config.hidden_size,
    layers: config.num_hidden_layers,
    vocab_size: config.vocab_size,
    context: config.max_position_embeddings,
  };
  const training = suggestTrainingPools(architecture);
  if (training === null) {
    throw new DeployError(`${hubId} does not fit on one GPU of RunPod's pools.`, "Choose a smaller model.");
  }
  const [owner = "", repository = hubId] = hubId.split("/");
  const inference = suggestInferencePools(architecture);
  return {
    id: repository.toLowerCase().replace(/[^a-z0-9.]+/g, "-"),
    name: repository,
    source: hubId,
    revision: sha,
    owned_by: owner,
    license: tags.find((tag) => tag.startsWith("license:"))?.slice("license:".length) ?? "unknown",
    gated: gated !== false,
    // A vocabulary of this size cannot be loaded within a function's CPU time.
    tokenizer: siblings.some(({ rfilename }) => rfilename === "tokenizer.json") &&
      config.vocab_size <= 200_000,
    architecture,
    training: {
      pools: training,
      defaults: {
        num_epochs: 3,
        batch_size: 8,
        learning_rate: 2e-4,
        lora_rank: 16,
        lora_alpha: 32,
        max_length: Math.min(2048, config.max_position_embeddings),
      },
    },
    ...(inference === null ? {} : {
      inference: {
        pools: inference,
        gpus: 1,
        workers: 1,
        max_rank: 64,
        max_length: Math.min(16_384, config.max_position_embeddings),
        vllm_args: "",
      },
    }),
  };
}

function parseConfig(hubId: string, data: Uint8Array): Config {
  const json = parseJson(data);
  const nested = z.object({ text_config: z.looseObject({}) }).safeParse(json);
  if (nested.success) {
    throw new DeployError(
      `${hubId} is not a text model: it also accepts images or audio.`,
      "Choose a text model; the trainer supports no others.",
    );
  }
  const config = Config.safeParse(json);
  if (!config.success) {
    throw new DeployError(
      `config.json of ${hubId} lacks what a catalog entry needs: ${z.prettifyError(config.error)}`,
      "Write the entry by hand: models/qwen3-8b.toml is an example.",
    );
  }
  return config.data;
}

function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return null;
  }
}

/** The parameters that one token uses. null: all of them, because the model is dense. */
function activeParameters(config: Config, parameters: number): number | null {
  const experts = config.num_experts ?? config.num_local_experts ?? 0;
  const used = config.num_experts_per_tok ?? experts;
  const width = config.moe_intermediate_size ?? config.intermediate_size ?? 0;
  if (experts <= used || width === 0) return null;
  const idle = (experts - used) * 3 * config.hidden_size * width * config.num_hidden_layers;
  return idle < parameters ? parameters - idle : null;
}

/** The differences between an entry and the hub, as `field: the entry's value, the hub's value`. Throws a DeployError. */
export async function compareWithHub(model: Model, token: string | null): Promise<string[]> {
  const { gated, safetensors, sha } = await hubModel(model.source, token);
  const config = Dimensions.safeParse(parseJson(await hubFile(model.source, sha, "config.json", token)));
  if (!config.success) return [`config.json: ${z.prettifyError(config.error)}`];
  const { hidden_size, num_hidden_layers, vocab_size, max_position_embeddings } = config.data;
  const { architecture } = model;
  const fields: [name: string, entry: number | boolean, hub: number | boolean | undefined][] = [
    ["gated", model.gated, gated !== false],
    ["parameters", architecture.parameters, safetensors?.total],
    ["hidden_size", architecture.hidden_size, hidden_size],
    ["layers", architecture.layers, num_hidden_layers],
    ["vocab_size", architecture.vocab_size, vocab_size],
    ["context", architecture.context, max_position_embeddings],
  ];
  return fields.filter(([, entry, hub]) => hub !== undefined && entry !== hub)
    .map(([name, entry, hub]) => `${name}: ${entry}, the hub says ${hub}`);
}

/** The entry as a file of `models/`. */
export function toToml({ architecture, inference, training, ...model }: Model): string {
  const list = (items: readonly string[]) => `[${items.map((item) => JSON.stringify(item)).join(", ")}]`;
  const assign = (values: Record<string, unknown>) =>
    Object.entries(values).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join("\n");
  const { name, source, owned_by, license, gated, tokenizer } = model;
  return `${assign({ name, source, owned_by, license, gated, ...(tokenizer ? {} : { tokenizer }) })}

[architecture]
${assign(architecture)}

[training]
pools = ${list(training.pools)}

[training.defaults]
${assign(training.defaults)}
${
    inference === undefined ? "" : `
[inference]
pools = ${list(inference.pools)}
max_rank = ${inference.max_rank}
max_length = ${inference.max_length}
`
  }`;
}
