/**
 * The rows of `tunebase.base_models`. Columns that describe the model and its workers follow the catalog and RunPod's prices.
 * Columns that operators tune (defaults, speed, inference prices, time limits) are written only when a row is created.
 */
import * as z from "zod";
import { chosenModels, loadCatalog, type Model, sourceOf } from "../catalog.ts";
import { expectedThroughput } from "../gpus.ts";
import { selectPools } from "../prices.ts";
import { hasModelsTable, pinRevision, revisionOf } from "../revisions.ts";
import type { Change, Context, Step } from "../step.ts";
import { trainerPools } from "./runpod_trainer.ts";

const GpuConfig = z.object({
  gpu_type: z.string(),
  num_gpus: z.number(),
  gpu_memory_gb: z.number(),
  cost_per_gpu_hour: z.number(),
});
/** The columns that every deployment updates. */
const Managed = z.object({
  source: z.string(),
  revision: z.string().nullable(),
  owned_by: z.string(),
  endpoint_id: z.string().nullable(),
  gpu_config: GpuConfig,
  max_length: z.number(),
  parameters: z.coerce.number().nullable(),
  hidden_size: z.number().nullable(),
  layers: z.number().nullable(),
  vocab_size: z.number().nullable(),
  inference_endpoint_id: z.string().nullable(),
  inference_max_rank: z.number(),
  inference_max_length: z.number().nullable(),
  enabled: z.boolean(),
});
type Managed = z.infer<typeof Managed>;
const Row = Managed.extend({ id: z.string() });
type Row = z.infer<typeof Row>;
const columns = Object.keys(Managed.shape);

/** The columns that are set only in a new row. */
interface Initial {
  defaults: Record<string, unknown>;
  tokens_per_second: number | null;
  inference_usd_per_hour: number;
}

export const models: Step = {
  id: "models",
  title: "Base models",
  async plan(context) {
    const [wanted, rows] = await Promise.all([desired(context, revisionOf), existing(context)]);
    const changes = wanted.map(({ id, managed }): Change | null => {
      const row = rows.find((one) => one.id === id);
      if (row === undefined) {
        const { gpu_type, cost_per_gpu_hour } = managed.gpu_config;
        return {
          action: "create",
          what: `base model ${id} (${gpu_type}, $${cost_per_gpu_hour} per GPU hour)`,
        };
      }
      const why = differences(row, managed);
      return why.length === 0 ? null : { action: "update", what: `base model ${id}`, why: why.join("; ") };
    });
    const dropped = (await withdrawn(context, rows)).map(({ id }): Change => ({
      action: "update",
      what: `base model ${id}`,
      why: "no longer selected",
    }));
    return [...changes.filter((change) => change !== null), ...dropped];
  },
  async apply(context) {
    const wanted = await desired(context, pinRevision);
    for (const { id, managed, initial } of wanted) await upsert(context, id, managed, initial);
    for (const { id } of await withdrawn(context, await existing(context))) {
      await context.supabase.execute(
        "update tunebase.base_models set enabled = false, inference_endpoint_id = null where id = $1",
        [id],
      );
    }
  },
};

async function desired(
  context: Context,
  revision: (context: Context, model: Model) => Promise<string>,
): Promise<{ id: string; managed: Managed; initial: Initial }[]> {
  const { settings, state, target, runpod } = context;
  const [gpus, chosen] = await Promise.all([runpod.listGpus(), chosenModels(settings.models)]);
  const pools = trainerPools(settings, chosen);
  const training = selectPools(gpus, pools);
  const isEmulated = target.name === "emulators";
  const rows = [];
  for (const model of chosen) {
    const { architecture: { context: maxLength, ...architecture }, inference, emulators } = model;
    rows.push({
      id: model.name,
      managed: {
        source: sourceOf(model, target.name).source,
        revision: await revision(context, model),
        owned_by: model.owned_by,
        endpoint_id: state.trainerEndpoint,
        gpu_config: {
          // Emulated workers train on the CPU, and reject other types.
          gpu_type: isEmulated ? "cpu" : training.gpuType,
          num_gpus: 1,
          gpu_memory_gb: isEmulated ? 0 : training.memory,
          // A worker may run in any pool, and spend caps must hold even in the most expensive one.
          cost_per_gpu_hour: training.usdPerHour.highest,
        },
        max_length: Math.min(131_072, maxLength),
        parameters: architecture.parameters,
        hidden_size: architecture.hidden_size,
        layers: architecture.layers,
        vocab_size: architecture.vocab_size,
        inference_endpoint_id: state.inferenceEndpoints[model.id] ?? null,
        inference_max_rank: inference?.max_rank ?? 64,
        inference_max_length: inference?.max_length ?? null,
        enabled: true,
      },
      initial: {
        defaults: model.training.defaults,
        tokens_per_second: isEmulated
          ? emulators?.tokens_per_second ?? null
          : slowest(pools.map((pool) => expectedThroughput(architecture, pool))),
        inference_usd_per_hour: inference === undefined
          ? 0
          : selectPools(gpus, inference.pools).usdPerHour.highest * inference.gpus,
      },
    });
  }
  return rows;
}

/** null: no pool's speed is known. */
function slowest(speeds: (number | null)[]): number | null {
  const known = speeds.filter((speed) => speed !== null);
  return known.length === 0 ? null : Math.min(...known);
}

async function existing({ state, supabase }: Context): Promise<Row[]> {
  if (state.project === null) return [];
  if (!await hasModelsTable(supabase)) return [];
  return await supabase.query(`select id, ${columns.join(", ")} from tunebase.base_models`, z.array(Row));
}

/** Enabled rows on this installation's endpoint whose models are in the catalog but no longer in the settings. */
async function withdrawn({ settings, state }: Context, rows: Row[]): Promise<Row[]> {
  const others = (await loadCatalog()).filter(({ id }) => !settings.models.includes(id)).map(({ name }) =>
    name
  );
  return rows.filter(({ id, enabled, endpoint_id }) =>
    enabled && endpoint_id !== null && endpoint_id === state.trainerEndpoint && others.includes(id)
  );
}

function differences(row: Row, managed: Managed): string[] {
  const before = flat(Managed.parse(row));
  const after = flat(managed);
  return Object.keys(after).filter((name) => before[name] !== after[name])
    .map((name) => `${name}: ${before[name]} → ${after[name]}`);
}

const flat = ({ gpu_config, ...rest }: Managed): Record<string, unknown> => ({ ...rest, ...gpu_config });

async function upsert({ supabase }: Context, id: string, managed: Managed, initial: Initial): Promise<void> {
  const names = [...columns, ...Object.keys(initial)];
  await supabase.execute(
    `insert into tunebase.base_models (id, ${names.join(", ")})
    select $1, ${names.map((name) => `r.${name}`).join(", ")}
    from jsonb_populate_record(null::tunebase.base_models, $2::text::jsonb) r
    on conflict (id) do update set ${columns.map((name) => `${name} = excluded.${name}`).join(", ")},
      tokens_per_second = coalesce(base_models.tokens_per_second, excluded.tokens_per_second)`,
    [id, JSON.stringify({ ...managed, ...initial })],
  );
}
