/** One load-balancing endpoint per served model, scaled to zero. Its secret is derived from its id, so it is set after creation. */
import { inferenceSecretPurpose } from "../../supabase/functions/_shared/contracts/inference_token.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { chosenModels, type Model, sourceOf } from "../catalog.ts";
import type { Endpoint } from "../platforms/runpod.ts";
import { hasModelsTable, pinRevision, revisionOf } from "../revisions.ts";
import { saveState } from "../state.ts";
import type { Change, Context, Step } from "../step.ts";
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

type Served = Model & { inference: NonNullable<Model["inference"]> };

export const runpodInference: Step = {
  id: "runpod-inference",
  title: "RunPod endpoints for inference",
  async plan(context) {
    const changes: Change[] = [];
    for (const model of await servedModels(context)) {
      const found = await find(context, model.id);
      const revision = await revisionOf(context, model);
      const settings = await desired(context, model, revision, found);
      if (found === null) {
        const { gpu, workers } = settings;
        const gpus = gpu.count === 1 ? "" : `${gpu.count} × `;
        changes.push({
          action: "create",
          what: `endpoint ${settings.name} (${gpus}${gpu.pools.join(", ")}, 0 to ${workers.max} workers)`,
        });
        continue;
      }
      const { why } = differences(found, settings);
      if (found.id !== context.state.inferenceEndpoints[model.id]) {
        why.push(`record of this installation: ${found.id}`);
      }
      if (why.length > 0) {
        changes.push({ action: "update", what: `endpoint ${found.name}`, why: why.join("; ") });
      }
    }
    for (const { endpoint } of await unused(context)) {
      changes.push({ action: "delete", what: `endpoint ${endpoint.name}: its model is no longer selected` });
    }
    return changes;
  },
  async apply(context) {
    const { state } = context;
    for (const model of await servedModels(context)) {
      const found = await find(context, model.id);
      const revision = await pinRevision(context, model);
      const created = found ??
        await ensureEndpoint(context, null, await desired(context, model, revision, null));
      state.inferenceEndpoints[model.id] = created.id;
      await saveState(state);
      await ensureEndpoint(context, created, await desired(context, model, revision, created));
    }
    const endpoints = await unused(context);
    for (const { endpoint } of endpoints) await stopRequests(context, endpoint.id);
    await removeAll(context, endpoints);
  },
  async planRemoval(context) {
    return (await existing(context)).map(({ endpoint }) => ({
      action: "delete",
      what: `endpoint ${endpoint.name}`,
    }));
  },
  async remove(context) {
    await removeAll(context, await existing(context));
  },
};

/** The API must not send requests to an endpoint that is about to be deleted. */
async function stopRequests({ supabase }: Context, endpointId: string): Promise<void> {
  if (!await hasModelsTable(supabase)) return;
  await supabase.execute(
    "update tunebase.base_models set inference_endpoint_id = null where inference_endpoint_id = $1",
    [endpointId],
  );
}

async function removeAll(
  { runpod, state }: Context,
  endpoints: { id: string; endpoint: Endpoint }[],
): Promise<void> {
  for (const { id, endpoint } of endpoints) {
    await runpod.deleteEndpoint(endpoint.id);
    delete state.inferenceEndpoints[id];
  }
}

async function servedModels({ settings }: Context): Promise<Served[]> {
  return (await chosenModels(settings.models)).filter((model): model is Served =>
    model.inference !== undefined
  );
}

const nameOf = ({ settings }: Context, id: string) => resourceName(settings.profile, `inference-${id}`);
const find = (context: Context, id: string) =>
  findEndpoint(context, context.state.inferenceEndpoints[id], nameOf(context, id));

/** This installation's endpoints by model id: those in the state, and those of the selected models, found by name. */
async function existing(context: Context): Promise<{ id: string; endpoint: Endpoint }[]> {
  const ids = new Set([...Object.keys(context.state.inferenceEndpoints), ...context.settings.models]);
  const found = [];
  for (const id of ids) {
    const endpoint = await findOwnEndpoint(
      context,
      context.state.inferenceEndpoints[id],
      nameOf(context, id),
    );
    if (endpoint !== null) found.push({ id, endpoint });
  }
  return found;
}

async function unused(context: Context): Promise<{ id: string; endpoint: Endpoint }[]> {
  return (await existing(context)).filter(({ id }) => !context.settings.models.includes(id));
}

/** Includes the secret once the endpoint exists and the master key can be read. */
async function desired(
  context: Context,
  { id, inference, name, ...model }: Served,
  revision: string,
  found: Endpoint | null,
): Promise<Desired> {
  const { settings, state, target } = context;
  const { gpus, max_length, max_rank, pools, vllm_args, workers } = inference;
  const { source } = sourceOf({ id, inference, name, ...model }, target.name);
  const parallel = gpus === 1 ? "" : `--tensor-parallel-size ${gpus}`;
  const args = [parallel, vllm_args].filter((text) => text !== "").join(" ");
  return {
    name: nameOf(context, id),
    type: "LOAD_BALANCER",
    image: settings.inferenceImage,
    gpu: { pools, count: gpus, minCudaVersion },
    workers: { min: 0, max: workers, idleTimeout: 300 },
    scaling: { type: "REQUEST_COUNT", requestCount: 32 },
    networkVolumes: state.volume === null ? [] : [state.volume],
    dataCenterIds: state.dataCenter === null ? [] : [state.dataCenter],
    // RunPod ends a load-balanced request after 330 s.
    timeout: 330_000,
    flashboot: "FLASHBOOT",
    disk: 30,
    ports: ["80/http", "8080/http"],
    registry: registryOf(context, found),
    env: withOperatorsEnv(found, {
      [ownerVariable]: installation(context),
      TUNEBASE_BASE_MODEL: source,
      TUNEBASE_BASE_REVISION: revision,
      TUNEBASE_MAX_LORA_RANK: `${max_rank}`,
      TUNEBASE_MAX_LENGTH: `${max_length}`,
      PORT: "80",
      PORT_HEALTH: "8080",
      HF_HUB_CACHE: hubCache,
      ...(args === "" ? {} : { TUNEBASE_VLLM_ARGS: args }),
      ...(settings.hubToken === null ? {} : { HF_TOKEN: settings.hubToken }),
      ...(found === null ? {} : {
        TUNEBASE_INFERENCE_SECRET: deriveSecret(await context.masterKey(), inferenceSecretPurpose(found.id)),
      }),
    }),
  };
}
