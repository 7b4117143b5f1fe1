/** The network volume with base models, in a data center that has the GPUs. `destroy` deletes it only with the data. */
import { chosenModels, type Model } from "../catalog.ts";
import { DeployError } from "../errors.ts";
import type { Gpu, Volume } from "../platforms/runpod.ts";
import type { Change, Context, Step } from "../step.ts";
import { resourceName } from "./runpod_names.ts";
import { trainerPools } from "./runpod_trainer.ts";

export const runpodVolume: Step = {
  id: "runpod-volume",
  title: "RunPod network volume",
  async plan(context) {
    const [found, models] = await Promise.all([findVolume(context), chosenModels(context.settings.models)]);
    const size = volumeSize(models);
    if (found === null) {
      const dataCenter = await plannedDataCenter(context, models);
      return [{
        action: "create",
        what: `network volume ${volumeName(context)} (${size} GB, ${dataCenter})`,
      }];
    }
    const { dataCenter } = context.settings;
    if (dataCenter !== null && found.dataCenter !== dataCenter) {
      throw new DeployError(
        `The network volume ${found.name} is in ${found.dataCenter}, not in ${dataCenter}. RunPod cannot move it.`,
        `Set --data-center ${found.dataCenter}, or remove the installation from RunPod first.`,
      );
    }
    const changes: Change[] = [];
    if (found.size < size) {
      changes.push({
        action: "update",
        what: `network volume ${found.name}`,
        why: `size: ${found.size} GB → ${size} GB`,
      });
    }
    if (context.state.volume !== found.id || context.state.dataCenter !== found.dataCenter) {
      changes.push({
        action: "update",
        what: "this installation's record",
        why: `network volume ${found.id}`,
      });
    }
    return changes;
  },
  async apply(context) {
    const { runpod, state } = context;
    const models = await chosenModels(context.settings.models);
    const size = volumeSize(models);
    const found = await findVolume(context) ?? await runpod.createVolume({
      name: volumeName(context),
      size,
      dataCenter: await plannedDataCenter(context, models),
    });
    if (found.size < size) await runpod.updateVolume(found.id, { size });
    state.volume = found.id;
    state.dataCenter = found.dataCenter;
  },
  async planRemoval(context, { data }) {
    const found = data ? await findVolume(context) : null;
    return found === null ? [] : [{
      action: "delete",
      what: `network volume ${found.name} (${found.size} GB) with the cached models`,
    }];
  },
  async remove(context, { data }) {
    const found = data ? await findVolume(context) : null;
    if (found === null) return;
    await context.runpod.deleteVolume(found.id);
    context.state.volume = null;
    context.state.dataCenter = null;
  },
};

/** GB: the models' weights in bf16, a copy in NF4, adapters, and the jobs' working files. */
export function volumeSize(models: Model[]): number {
  const weights = models.reduce((sum, { architecture }) => sum + 2.6 * architecture.parameters, 0) / 1e9;
  return Math.max(50, Math.ceil((weights + 30) / 10) * 10);
}

/** Volumes have no owner field, so the name contains the Supabase project's ref, which is unique. */
const volumeName = ({ settings, state }: Context) =>
  resourceName(settings.profile, `models-${state.project ?? "<ref>"}`);

/** The volume, by its id or else by its name. */
export async function findVolume(context: Context): Promise<Volume | null> {
  const volumes = await context.runpod.listVolumes();
  const { volume, project } = context.state;
  return volumes.find(({ id }) => id === volume) ??
    (project === null ? null : volumes.find(({ name }) => name === volumeName(context)) ?? null);
}

/** The data center that the plan showed, because capacity may change while the operator reads it. */
const planned = new WeakMap<Context, string>();
async function plannedDataCenter(context: Context, models: Model[]): Promise<string> {
  const dataCenter = planned.get(context) ?? await chooseDataCenter(context, models);
  planned.set(context, dataCenter);
  return dataCenter;
}

const levels = ["NONE", "LOW", "MEDIUM", "HIGH"];

/** The data center with network volumes that has the most of the trainer's GPUs, the preferred pool first. */
export async function chooseDataCenter(context: Context, models: Model[]): Promise<string> {
  const { settings, runpod } = context;
  const [gpus, centers] = await Promise.all([runpod.listGpus(), runpod.listDataCenters()]);
  const usable = centers.filter(({ networkVolumeTypes }) => networkVolumeTypes.length > 0);
  if (settings.dataCenter !== null) {
    if (usable.some(({ id }) => id === settings.dataCenter)) return settings.dataCenter;
    throw new DeployError(
      `RunPod has no data center ${settings.dataCenter} with network volumes.`,
      `Choose from: ${usable.map(({ id }) => id).join(", ")}.`,
    );
  }
  const pools = trainerPools(settings, models);
  const others = models.flatMap(({ inference }) => inference?.pools ?? []);
  const ranked = usable.map(({ id }) => ({
    id,
    training: pools.map((pool) => availability(gpus, pool, id)),
    serving: others.reduce((sum, pool) => sum + availability(gpus, pool, id), 0),
  })).filter(({ training }) => training.some((level) => level > 0));
  // A preferred pool outweighs all that follow it.
  const score = (training: number[]) => training.reduce((sum, level) => sum * levels.length + level, 0);
  const [best] = ranked.toSorted((a, b) => score(b.training) - score(a.training) || b.serving - a.serving);
  if (best === undefined) {
    throw new DeployError(
      `No RunPod data center with network volumes has capacity in ${pools.join(", ")} at the moment.`,
      "Choose other pools with --gpu, a data center with --data-center, or try again later.",
    );
  }
  return best.id;
}

function availability(gpus: Gpu[], pool: string, dataCenter: string): number {
  const inPool = gpus.filter((gpu) => gpu.pool === pool);
  const here = inPool.flatMap(({ dataCenters = [] }) => dataCenters).filter(({ id }) => id === dataCenter);
  return Math.max(0, ...here.map(({ availability }) => levels.indexOf(availability)));
}
