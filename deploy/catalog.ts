/** The catalog of base models: `models/*.toml`. Dimensions are those of each model's config.json. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, TomlError } from "smol-toml";
import * as z from "zod";
import { TrainingHyperparameters } from "../supabase/functions/_shared/protocol.ts";
import { pools as knownPools } from "./gpus.ts";
import { sourceRoot } from "./sources.ts";
import type { Target } from "./target.ts";

const count = z.int().min(1);
const Pools = z.array(z.enum(knownPools.map(({ id }) => id))).min(1);

/** vLLM has kernels for these: see `inference/tunebase_inference/settings.py`. */
const ranks = [8, 16, 32, 64, 128, 256, 320, 512];

/** Built once: a schema compiles its checks on its first use. */
const Defaults = TrainingHyperparameters.partial();

export const CatalogEntry = z.strictObject({
  /** The `model` that clients send. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/),
  /** A hub id or `package:<PyPI name>`. A hub model's revision is pinned when it is deployed. */
  source: z.string().min(1),
  owned_by: z.string().min(1),
  /** The license's identifier on the hub. */
  license: z.string().min(1),
  /** Whether the license must be accepted on the hub, so that workers need HF_TOKEN. */
  gated: z.boolean(),
  /** Whether the API loads the tokenizer, to count a dataset's tokens. */
  tokenizer: z.boolean().default(true),
  architecture: z.strictObject({
    parameters: count,
    active_parameters: count.optional(),
    hidden_size: count,
    layers: count,
    vocab_size: count,
    /** Tokens. */
    context: z.int().min(64),
  }),
  training: z.strictObject({
    /** RunPod pools in order of preference. */
    pools: Pools,
    /** Defaults for hyperparameters that a client omits. The contract's own defaults are not included. */
    defaults: z.record(z.string(), z.unknown()).superRefine((defaults, context) => {
      const { error } = Defaults.safeParse(defaults);
      for (const { message, path } of error?.issues ?? []) {
        context.addIssue({ code: "custom", message, path });
      }
    }),
  }),
  /** Absent: the model is not served. */
  inference: z.strictObject({
    pools: Pools,
    gpus: count.default(1),
    /** The maximum number of concurrent workers. */
    workers: count.default(1),
    max_rank: count.refine((rank) => ranks.includes(rank), `must be one of ${ranks.join(", ")}`),
    max_length: z.int().min(64),
    vllm_args: z.string().default(""),
  }).optional(),
  /** Overrides for an emulated RunPod. */
  emulators: z.strictObject({
    source: z.string(),
    revision: z.string(),
    tokens_per_second: z.number().positive(),
  }).optional(),
});

/** An entry of the catalog. */
export interface Model extends z.infer<typeof CatalogEntry> {
  /** The file's name, as passed to `--models`. */
  id: string;
}

/** All entries, by id. Throws an Error that names the file. */
export async function loadCatalog(folder: string = join(sourceRoot(), "models")): Promise<Model[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith(".toml")).sort();
  return await Promise.all(files.map(async (file) => {
    const entry = parseEntry(await readFile(join(folder, file), "utf8"), join(folder, file));
    return { id: file.slice(0, -".toml".length), ...entry };
  }));
}

/** Checks a file's text. Throws an Error that names the file and the field. */
export function parseEntry(text: string, path: string): z.infer<typeof CatalogEntry> {
  let data: unknown;
  try {
    data = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new Error(`${path}: ${error.message}`);
  }
  const entry = CatalogEntry.safeParse(data);
  if (!entry.success) throw new Error(`${path}: ${z.prettifyError(entry.error)}`);
  return entry.data;
}

/** The chosen models, in that order. */
export async function chosenModels(ids: string[]): Promise<Model[]> {
  const catalog = await loadCatalog();
  return ids.map((id) => {
    const model = catalog.find((one) => one.id === id);
    if (model === undefined) throw new Error(`the catalog has no model ${id}`);
    return model;
  });
}

/** Where a target's workers find a model. `revision` null: the hub's current one, which is pinned at deployment. */
export function sourceOf(model: Model, target: Target["name"]): { source: string; revision: string | null } {
  const override = target === "emulators" ? model.emulators : undefined;
  return { source: override?.source ?? model.source, revision: override?.revision ?? null };
}
