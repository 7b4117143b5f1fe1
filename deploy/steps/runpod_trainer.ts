/** The training endpoint: a queue, scaled to zero, with the network volume. */
import { chosenModels, type Model } from "../catalog.ts";
import { trainingMemory } from "../gpus.ts";
import type { Endpoint } from "../platforms/runpod.ts";
import type { Context, Settings, Step } from "../step.ts";
import {
  type Desired,
  differences,
  ensureEndpoint,
  findEndpoint,
  findOwnEndpoint,
  hubCache,
  minCudaVersion,
  registryOf,
  withOperatorsEnv,
} from "./runpod_endpoint.ts";
import { installation, ownerVariable, resourceName } from "./runpod_names.ts";

export const runpodTrainer: Step = {
  id: "runpod-trainer",
  title: "RunPod endpoint for training",
  async plan(context) {
    const found = await find(context);
    const settings = await desired(context, found);
    if (found === null) {
      const { name, gpu, workers } = settings;
      return [{
        action: "create",
        what: `endpoint ${name} (${gpu.pools.join(", ")}, 0 to ${workers.max} workers)`,
      }];
    }
    const { why } = differences(found, settings);
    if (found.id !== context.state.trainerEndpoint) why.push(`record of this installation: ${found.id}`);
    return why.length === 0
      ? []
      : [{ action: "update", what: `endpoint ${found.name}`, why: why.join("; ") }];
  },
  async apply(context) {
    const found = await find(context);
    const endpoint = await ensureEndpoint(context, found, await desired(context, found));
    context.state.trainerEndpoint = endpoint.id;
  },
  async planRemoval(context) {
    const found = await findOwn(context);
    return found === null ? [] : [{ action: "delete", what: `endpoint ${found.name}` }];
  },
  async remove(context) {
    const found = await findOwn(context);
    if (found !== null) await context.runpod.deleteEndpoint(found.id);
    context.state.trainerEndpoint = null;
  },
};

/** The trainer's GPU pools: as set, or based on the model that needs the most memory. */
export function trainerPools(settings: Pick<Settings, "gpuPools">, models: Model[]): string[] {
  if (settings.gpuPools !== null) return settings.gpuPools;
  const needed = ({ architecture }: Model) => trainingMemory(architecture, "nf4");
  const [largest] = models.toSorted((a, b) => needed(b) - needed(a));
  return largest?.training.pools ?? [];
}

const name = ({ settings }: Context) => resourceName(settings.profile, "trainer");
const find = (context: Context) => findEndpoint(context, context.state.trainerEndpoint, name(context));
const findOwn = (context: Context) => findOwnEndpoint(context, context.state.trainerEndpoint, name(context));

async function desired(context: Context, found: Endpoint | null): Promise<Desired> {
  const { settings, state } = context;
  return {
    name: name(context),
    type: "QUEUE",
    image: settings.trainerImage,
    gpu: { pools: trainerPools(settings, await chosenModels(settings.models)), count: 1, minCudaVersion },
    workers: { min: 0, max: settings.maxWorkers, idleTimeout: 5 },
    scaling: { type: "QUEUE_DELAY", queueDelay: 4 },
    networkVolumes: state.volume === null ? [] : [state.volume],
    dataCenterIds: state.dataCenter === null ? [] : [state.dataCenter],
    // For requests without a limit. Tunebase's requests set their own.
    timeout: 86_400_000,
    flashboot: "FLASHBOOT",
    disk: 20,
    ports: [],
    registry: registryOf(context, found),
    env: withOperatorsEnv(found, {
      [ownerVariable]: installation(context),
      HF_HUB_CACHE: hubCache,
      ...(settings.hubToken === null ? {} : { HF_TOKEN: settings.hubToken }),
    }),
  };
}
