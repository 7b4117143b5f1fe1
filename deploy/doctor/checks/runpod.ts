/** RunPod: the key, the endpoints that the models name, their workers, and the network volume. */
import * as z from "zod";
import { pluralize } from "../../../cli/terminal/format.ts";
import { type Check, type CheckGroup, deployCommand, failed, ok, warning } from "../check.ts";
import type { Installation, RunpodReader } from "../installation.ts";

type Endpoint = Awaited<ReturnType<RunpodReader["listEndpoints"]>>[number];

interface Used {
  id: string;
  /** `trainer`, or the model that it serves. */
  role: string;
  image: string;
}

const Model = z.object({
  id: z.string(),
  endpoint_id: z.string().nullable(),
  inference_endpoint_id: z.string().nullable(),
  cost: z.coerce.number(),
});

export const runpodChecks: CheckGroup = {
  id: "runpod",
  async run(installation) {
    const { runpod, supabase } = installation;
    const [endpoints, models] = await Promise.all([
      runpod.listEndpoints(),
      supabase.query(
        `select id, endpoint_id, inference_endpoint_id, (gpu_config ->> 'cost_per_gpu_hour')::float8 as cost
        from tunebase.base_models where enabled order by id`,
        z.array(Model),
      ),
    ]);
    const used = endpointsOf(installation);
    const [volume, ...workers] = await Promise.all([
      checkVolume(installation),
      ...used.map((one) => checkWorkers(one, endpoints, runpod)),
    ]);
    return [
      ok("runpod-key", `valid; the account has ${pluralize(endpoints.length, "endpoint")}`),
      ...used.map((one) => checkEndpoint(one, endpoints, installation)),
      ...workers.flat(),
      ...volume,
      checkModels(models, endpoints),
    ];
  },
};

function endpointsOf({ state, settings }: Installation): Used[] {
  const trainer = state.trainerEndpoint;
  return [
    ...(trainer === null ? [] : [{ id: trainer, role: "trainer", image: settings.trainerImage }]),
    ...Object.entries(state.inferenceEndpoints).map(([role, id]) => ({
      id,
      role,
      image: settings.inferenceImage,
    })),
  ];
}

function checkEndpoint({ id, role, image }: Used, endpoints: Endpoint[], { state }: Installation): Check {
  const check = `endpoint-${role}`;
  const found = endpoints.find((endpoint) => endpoint.id === id);
  if (found === undefined) {
    return failed(check, `RunPod has no endpoint ${id}`, `Create it again: ${deployCommand}`);
  }
  const { min, max } = found.workers;
  const name = `${found.name} (${id})`;
  if (max === 0) {
    return failed(
      check,
      `${name} has a maximum of 0 workers; RunPod sets it after a week without requests`,
      `Raise it: ${deployCommand}`,
    );
  }
  if (found.image !== undefined && found.image !== image) {
    return warning(check, `${name} runs ${found.image}, not ${image}`, `Update it: ${deployCommand}`);
  }
  if (state.volume !== null && role === "trainer" && !found.networkVolumes.includes(state.volume)) {
    return warning(check, `${name} does not mount volume ${state.volume}`, `Update it: ${deployCommand}`);
  }
  if (min > 0) {
    return warning(
      check,
      `${name} keeps ${pluralize(min, "worker")} running, which costs money while idle`,
      "If that is not intended, set its minimum to 0 in the RunPod console.",
    );
  }
  return ok(check, `${name}, 0 to ${pluralize(max, "worker")}`);
}

async function checkWorkers(
  { id, role }: Used,
  endpoints: Endpoint[],
  runpod: RunpodReader,
): Promise<Check[]> {
  if (!endpoints.some((endpoint) => endpoint.id === id)) return [];
  const { workers } = await runpod.getWorkers(id);
  const with_ = (status: string) => workers.filter((worker) => worker.status === status);
  const check = `workers-${role}`;
  const unhealthy = with_("UNHEALTHY");
  if (unhealthy.length > 0) {
    return [
      failed(
        check,
        `${pluralize(unhealthy.length, "worker is", "workers are")} unhealthy: ${
          unhealthy.map((worker) => worker.id).join(", ")
        }`,
        "Read their logs in the RunPod console.",
      ),
    ];
  }
  const throttled = with_("THROTTLED");
  if (throttled.length > 0) {
    return [
      warning(
        check,
        `${pluralize(throttled.length, "worker waits", "workers wait")} for a GPU`,
        "RunPod has no free GPU of these types. Wait, or allow more GPU pools.",
      ),
    ];
  }
  const stale = workers.filter(({ isStale }) => isStale);
  if (stale.length > 0) {
    return [
      warning(
        check,
        `${pluralize(stale.length, "worker runs", "workers run")} an older release`,
        "None needed: RunPod replaces them when they become idle.",
      ),
    ];
  }
  const running = with_("RUNNING").length;
  return [
    ok(
      check,
      workers.length === 0 ? "none, which costs nothing" : `${workers.length}, of which ${running} busy`,
    ),
  ];
}

async function checkVolume({ state, runpod }: Installation): Promise<Check[]> {
  if (state.volume === null) return [];
  const found = (await runpod.listVolumes()).find(({ id }) => id === state.volume);
  return [
    found === undefined
      ? failed("volume", `RunPod has no network volume ${state.volume}`, `Create it again: ${deployCommand}`)
      : ok("volume", `${found.name}, ${found.size} GB in ${found.dataCenter}`),
  ];
}

/** Checks the models that clients can choose. Jobs of a model whose endpoint does not exist fail. */
function checkModels(models: z.infer<typeof Model>[], endpoints: Endpoint[]): Check {
  const fix = 'See docs/deploy.md, "Add base models".';
  if (models.length === 0) return failed("models", "no base model is enabled", fix);
  const known = (id: string | null) => id === null || endpoints.some((endpoint) => endpoint.id === id);
  const broken = models.filter((model) => !known(model.endpoint_id) || !known(model.inference_endpoint_id));
  if (broken.length > 0) {
    return failed(
      "models",
      `name an endpoint that RunPod does not have: ${broken.map(({ id }) => id).join(", ")}`,
      `Update tunebase.base_models, or: ${deployCommand}`,
    );
  }
  const free = models.filter(({ cost }) => cost === 0);
  return free.length === 0 ? ok("models", models.map(({ id }) => id).join(", ")) : warning(
    "models",
    `have no price, so spend caps do not apply: ${free.map(({ id }) => id).join(", ")}`,
    `Set cost_per_gpu_hour in tunebase.base_models.gpu_config, or: ${deployCommand}`,
  );
}
