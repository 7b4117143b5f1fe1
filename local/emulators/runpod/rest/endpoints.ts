/** Creates and updates endpoints with RunPod's rules that its schema does not express. */
import type * as z from "zod";
import { dataCenters, gpus } from "./catalog.ts";
import { Problem } from "./problem.ts";
import type { Account, CreateEndpoint, Endpoint, UpdateEndpoint } from "./schemas.ts";
import { newId } from "./store.ts";

type Create = z.infer<typeof CreateEndpoint>;
type Update = z.infer<typeof UpdateEndpoint>;

/** A new endpoint. Throws a Problem; adds nothing to the account. */
export function createEndpoint(account: Account, body: Create, maxWorkers: number): Endpoint {
  if ((body.gpu === undefined) === (body.cpu === undefined)) {
    throw new Problem(400, "exactly one of gpu and cpu must be set");
  }
  const template = templateOf(account, body.templateId);
  const endpoint: Endpoint = {
    id: newId(),
    name: body.name,
    type: body.type,
    image: body.image ?? template?.image ?? "",
    args: body.args ?? template?.args ?? "",
    disk: body.disk ?? template?.disk ?? 20,
    env: { ...template?.env, ...body.env },
    ports: body.ports ?? template?.ports ?? [],
    registry: body.registry ?? template?.registry ?? null,
    gpu: body.gpu === undefined ? null : {
      pools: body.gpu.pools,
      ...(body.gpu.excludedTypes === undefined ? {} : { excludedTypes: body.gpu.excludedTypes }),
      count: body.gpu.count ?? 1,
      allowedCudaVersions: body.gpu.allowedCudaVersions ??
        (body.gpu.minCudaVersion === undefined ? template?.allowedCudaVersions : undefined) ?? [],
      minCudaVersion: body.gpu.minCudaVersion ?? null,
    },
    ...(body.cpu === undefined ? {} : { cpu: withMemory(body.cpu) }),
    workers: {
      min: body.workers?.min ?? 0,
      max: body.workers?.max ?? 3,
      ...(hasIdleTimeout(body) ? { idleTimeout: body.workers?.idleTimeout ?? 10 } : {}),
    },
    scaling: body.scaling,
    dataCenterIds: body.dataCenterIds ?? [],
    networkVolumes: body.networkVolumes ?? [],
    timeout: body.timeout ?? 300_000,
    flashboot: body.flashboot ?? "OFF",
    createdAt: new Date().toISOString(),
  };
  if (!hasIdleTimeout(endpoint) && body.workers?.idleTimeout !== undefined) throw idleTimeoutProblem();
  check(account, endpoint, maxWorkers);
  return endpoint;
}

/** The endpoint with the changes. Throws a Problem. */
export function updateEndpoint(
  account: Account,
  endpoint: Endpoint,
  body: Update,
  maxWorkers: number,
): Endpoint {
  if (body.gpu !== undefined && body.cpu !== undefined) {
    throw new Problem(400, "gpu and cpu exclude each other");
  }
  if (
    (body.gpu !== undefined && endpoint.gpu === null) || (body.cpu !== undefined && endpoint.gpu !== null)
  ) {
    throw new Problem(400, "an endpoint's compute family cannot be changed");
  }
  const { gpu, cpu, templateId, workers, ...rest } = body;
  const template = templateOf(account, templateId);
  const changed: Endpoint = {
    ...endpoint,
    ...(template === undefined
      ? {}
      : { image: template.image, args: template.args, disk: template.disk, ports: template.ports }),
    ...rest,
    // A PATCH replaces the environment. A template's environment is merged into the body's.
    env: rest.env === undefined && template === undefined ? endpoint.env : { ...template?.env, ...rest.env },
    registry: rest.registry === undefined ? endpoint.registry : rest.registry,
    workers: { ...endpoint.workers, ...workers },
    ...(cpu === undefined ? {} : { cpu: withMemory(cpu) }),
  };
  if (gpu !== undefined && endpoint.gpu !== null) {
    const { minCudaVersion, pools, excludedTypes, ...others } = gpu;
    const { excludedTypes: excluded, ...current } = endpoint.gpu;
    changed.gpu = {
      ...current,
      ...others,
      // Pools and exclusions are one selection: new pools without exclusions clear them.
      ...(pools === undefined
        ? (excluded === undefined ? {} : { excludedTypes: excluded })
        : { pools, ...(excludedTypes === undefined ? {} : { excludedTypes }) }),
      minCudaVersion: minCudaVersion === undefined ? current.minCudaVersion : minCudaVersion || null,
    };
  }
  if (!hasIdleTimeout(changed)) {
    if (workers?.idleTimeout !== undefined) throw idleTimeoutProblem();
    delete changed.workers.idleTimeout;
  }
  if (changed.type === "LOAD_BALANCER" && changed.scaling.type !== "REQUEST_COUNT") {
    throw new Problem(400, "load-balancing endpoints scale on REQUEST_COUNT");
  }
  check(account, changed, maxWorkers);
  return changed;
}

const idleTimeoutProblem = () =>
  new Problem(400, "workers.idleTimeout does not apply to queue-based endpoints that scale on REQUEST_COUNT");
const hasIdleTimeout = ({ type, scaling }: Pick<Endpoint, "type" | "scaling">) =>
  type === "LOAD_BALANCER" || scaling.type === "QUEUE_DELAY";
const withMemory = (cpu: { id: string; vcpuCount: number }[]) =>
  cpu.map((one) => ({ ...one, memory: one.vcpuCount * 2 }));

function templateOf(account: Account, id: string | undefined) {
  if (id === undefined) return undefined;
  const template = account.templates.find((one) => one.id === id);
  if (template === undefined) throw new Problem(404, "template not found");
  if (!template.serverless) throw new Problem(422, "the template is not a serverless template");
  return template;
}

function check(account: Account, endpoint: Endpoint, maxWorkers: number): void {
  const { gpu, workers } = endpoint;
  if (gpu !== null) {
    if (gpu.allowedCudaVersions.length > 0 && gpu.minCudaVersion !== null) {
      throw new Problem(400, "gpu.allowedCudaVersions and gpu.minCudaVersion are mutually exclusive");
    }
    const unknown = gpu.pools.find((name) => !gpus.some(({ pool }) => pool === name));
    if (unknown !== undefined) throw new Problem(400, `gpu.pools: unknown pool '${unknown}'`);
    const types = gpus.filter(({ pool }) => gpu.pools.includes(pool)).map(({ id }) => id);
    const excluded = (gpu.excludedTypes ?? []).map((id) => id.trim());
    const wrong = excluded.find((id) => !types.includes(id));
    if (wrong !== undefined) {
      throw new Problem(400, `gpu.excludedTypes: '${wrong}' is not in the selected pools`);
    }
    if (types.every((id) => excluded.includes(id))) {
      throw new Problem(400, "gpu: the selection leaves no GPU type");
    }
  }
  if (workers.min > workers.max) throw new Problem(400, "workers.min must not exceed workers.max");
  const others = account.endpoints.filter(({ id }) => id !== endpoint.id);
  const total = others.reduce((sum, other) => sum + other.workers.max, workers.max);
  if (total > maxWorkers) {
    throw new Problem(
      400,
      `Max workers across all endpoints must not exceed your workers quota (${maxWorkers}); requested ${total}`,
    );
  }
  if (endpoint.registry !== null && !account.registries.some(({ id }) => id === endpoint.registry)) {
    throw new Problem(400, "registry: credential not found");
  }
  const center = endpoint.dataCenterIds.find((id) => !dataCenters.some((one) => one.id === id));
  if (center !== undefined) throw new Problem(400, `dataCenterIds: unknown data center '${center}'`);
  for (const id of endpoint.networkVolumes) {
    const volume = account.volumes.find((one) => one.id === id);
    if (volume === undefined) throw new Problem(400, `networkVolumes: volume '${id}' not found`);
    if (endpoint.dataCenterIds.length > 0 && !endpoint.dataCenterIds.includes(volume.dataCenter)) {
      throw new Problem(400, `networkVolumes: volume '${id}' is in ${volume.dataCenter}`);
    }
  }
}

/** The changes of a release: container settings and compute. null: workers need not be replaced. */
export function releaseDiff(before: Endpoint, after: Endpoint) {
  const fields = [
    "image",
    "args",
    "disk",
    "env",
    "ports",
    "registry",
    "gpu",
    "cpu",
    "networkVolumes",
  ] as const;
  const diff = fields.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]))
    .map((field) => ({ field, old: before[field], new: after[field] }));
  return diff.length === 0 ? null : diff;
}
