/**
 * Emulates a RunPod account: its REST API v2 under `/runpod-rest/v2`, and its endpoints under `/runpod` (runs:
 * `/runpod/v2/{endpoint}/…`, load balancing: `/runpod/lb/{endpoint}/…`). Endpoints run real workers on this machine. The
 * account is stored on disk; queues are lost with the process.
 *
 * Like RunPod, it rejects unknown fields, allows duplicate names, creates another resource for a repeated POST, and replaces
 * workers with old settings as they become idle. A key that ends in `_readonly` is read-only. Differs: images are not pulled;
 * a QUEUE endpoint runs `trainer/handler.py`, and a LOAD_BALANCER endpoint runs the inference emulator. Pods, clusters, the
 * catalog's filters and rate limits are missing, and error texts differ.
 */
import { Hono } from "hono";
import { serverlessBilling } from "./rest/billing.ts";
import {
  type Availability,
  dataCenters,
  defaultAvailability,
  listDataCenters,
  listGpus,
} from "./rest/catalog.ts";
import { createEndpoint, releaseDiff, updateEndpoint } from "./rest/endpoints.ts";
import { Problem, problem, read } from "./rest/problem.ts";
import { runEndpoint, type Running, type RunningOptions } from "./rest/running.ts";
import {
  CreateEndpoint,
  CreateRegistry,
  CreateTemplate,
  CreateVolume,
  type Endpoint,
  UpdateEndpoint,
  UpdateTemplate,
  UpdateVolume,
} from "./rest/schemas.ts";
import { newId, openStore } from "./rest/store.ts";

export interface RunpodRestOptions extends Omit<RunningOptions, "onSession"> {
  /** The account's quota: the sum of all endpoints' `workers.max`. */
  maxWorkers?: number;
  /** Capacity of a GPU type in a data center. */
  availability?: (gpuId: string, dataCenter: string) => Availability;
}

export interface RunpodRest {
  fetch(request: Request): Promise<Response>;
  /** The process ids of all workers; each leads a group. */
  workers(): number[];
  /** Ends the workers; the account stays on disk. */
  stop(): Promise<void>;
}

const prefix = "/runpod-rest/v2";

export async function createRunpodRest(options: RunpodRestOptions): Promise<RunpodRest> {
  const { home, apiKey, maxWorkers = 10, availability = defaultAvailability } = options;
  await Deno.mkdir(`${home}/logs`, { recursive: true, mode: 0o700 });
  const { account, save } = await openStore(home);
  const running = new Map<string, Running>();
  const run = (endpoint: Endpoint) =>
    running.set(
      endpoint.id,
      runEndpoint(endpoint, {
        ...options,
        onSession: (session) => {
          account.sessions.push(session);
          void save();
        },
      }),
    );
  account.endpoints.forEach(run);

  const app = new Hono().basePath(prefix);
  app.onError((error) => {
    if (error instanceof Problem) return problem(error);
    throw error;
  });
  app.notFound(() => problem(new Problem(404, "resource not found")));
  app.use("*", async function authorize(c, next) {
    const key = c.req.header("authorization")?.replace(/^Bearer /, "");
    if (key === undefined) throw new Problem(401, "missing bearer token");
    if (key === `${apiKey}_readonly`) {
      if (c.req.method !== "GET") throw new Problem(403, "access denied");
    } else if (key !== apiKey) throw new Problem(401, "invalid bearer token");
    await next();
  });

  /** The list's member with the id. */
  const find = <T extends { id: string }>(list: T[], id: string, what: string): T => {
    const found = list.find((one) => one.id === id);
    if (found === undefined) throw new Problem(404, `${what} not found`);
    return found;
  };
  const remove = async <T extends { id: string }>(list: T[], id: string, what: string): Promise<Response> => {
    list.splice(list.indexOf(find(list, id, what)), 1);
    await save();
    return new Response(null, { status: 204 });
  };

  // --- network volumes
  app.get("/network-volumes", (c) => c.json({ networkVolumes: account.volumes }));
  app.post("/network-volumes", async (c) => {
    const body = await read(c.req.raw, CreateVolume);
    const center = dataCenters.find(({ id }) => id === body.dataCenter);
    if (center === undefined) throw new Problem(400, `unknown data center '${body.dataCenter}'`);
    const [type] = center.networkVolumeTypes;
    if (type === undefined || (body.type ?? type) !== type) {
      throw new Problem(400, `${center.id} has no network volumes of this type`);
    }
    const volume = { id: newId(), ...body, type };
    account.volumes.push(volume);
    await Deno.mkdir(`${home}/volumes/${volume.id}`, { recursive: true });
    await save();
    return c.json(volume, 201);
  });
  app.get("/network-volumes/:id", (c) => c.json(find(account.volumes, c.req.param("id"), "network volume")));
  app.patch("/network-volumes/:id", async (c) => {
    const volume = find(account.volumes, c.req.param("id"), "network volume");
    const body = await read(c.req.raw, UpdateVolume);
    if ((body.size ?? volume.size) < volume.size) {
      throw new Problem(400, "a network volume cannot be made smaller");
    }
    Object.assign(volume, body);
    await save();
    return c.json(volume);
  });
  app.delete("/network-volumes/:id", async (c) => {
    const id = c.req.param("id");
    if (account.endpoints.some(({ networkVolumes }) => networkVolumes.includes(id))) {
      throw new Problem(400, "the network volume is attached to an endpoint");
    }
    const response = await remove(account.volumes, id, "network volume");
    await Deno.remove(`${home}/volumes/${id}`, { recursive: true });
    return response;
  });

  // --- registry credentials
  const shownRegistry = ({ id, name }: { id: string; name: string }) => ({ id, name });
  app.get("/registries", (c) => c.json({ registries: account.registries.map(shownRegistry) }));
  app.post("/registries", async (c) => {
    const registry = { id: newId(), ...await read(c.req.raw, CreateRegistry) };
    account.registries.push(registry);
    await save();
    return c.json(shownRegistry(registry), 201);
  });
  app.get("/registries/:id", (c) => {
    return c.json(shownRegistry(find(account.registries, c.req.param("id"), "registry")));
  });
  app.delete("/registries/:id", async (c) => {
    const id = c.req.param("id");
    if (account.endpoints.some(({ registry }) => registry === id)) {
      throw new Problem(400, "the registry credential is in use");
    }
    for (const template of account.templates) if (template.registry === id) template.registry = null;
    return await remove(account.registries, id, "registry");
  });

  // --- templates
  app.get("/templates", (c) => c.json({ templates: account.templates }));
  app.post("/templates", async (c) => {
    const body = await read(c.req.raw, CreateTemplate);
    const template = {
      id: newId(),
      args: "",
      disk: 20,
      env: {},
      ports: [],
      registry: null,
      mounts: {},
      serverless: false,
      public: false,
      category: "NVIDIA" as const,
      startSsh: true,
      startJupyter: true,
      allowedCudaVersions: [],
      ...body,
    };
    account.templates.push(template);
    await save();
    return c.json(template, 201);
  });
  app.get("/templates/:id", (c) => c.json(find(account.templates, c.req.param("id"), "template")));
  app.patch("/templates/:id", async (c) => {
    const template = find(account.templates, c.req.param("id"), "template");
    Object.assign(template, await read(c.req.raw, UpdateTemplate));
    await save();
    return c.json(template);
  });
  app.delete("/templates/:id", (c) => remove(account.templates, c.req.param("id"), "template"));

  // --- endpoints
  const endpointOf = (id: string) => find(account.endpoints, id, "endpoint");
  const shown = (endpoint: Endpoint) => ({ ...endpoint, requestUrls: requestUrls(endpoint, options.url) });
  const version = (id: string) => account.releases[id]?.[0]?.version ?? 1;
  const release = (id: string, diff: { field: string; old: unknown; new: unknown }[]) => {
    const before = account.releases[id] ?? [];
    const next = { id: newId(), version: before.length + 1, createdAt: new Date().toISOString(), diff };
    account.releases[id] = [next, ...before];
  };
  app.get("/serverless", (c) => c.json({ endpoints: account.endpoints.map(shown) }));
  app.post("/serverless", async (c) => {
    const endpoint = createEndpoint(account, await read(c.req.raw, CreateEndpoint), maxWorkers);
    account.endpoints.push(endpoint);
    release(endpoint.id, []);
    await save();
    run(endpoint);
    return c.json(shown(endpoint), 201);
  });
  app.get("/serverless/:id", (c) => c.json(shown(endpointOf(c.req.param("id")))));
  app.patch("/serverless/:id", async (c) => {
    const before = endpointOf(c.req.param("id"));
    const after = updateEndpoint(account, before, await read(c.req.raw, UpdateEndpoint), maxWorkers);
    account.endpoints[account.endpoints.indexOf(before)] = after;
    const diff = releaseDiff(before, after);
    if (diff !== null) release(after.id, diff);
    await save();
    running.get(after.id)?.update(after, diff !== null);
    return c.json(shown(after));
  });
  app.delete("/serverless/:id", async (c) => {
    const id = c.req.param("id");
    endpointOf(id);
    await running.get(id)?.stop();
    running.delete(id);
    delete account.releases[id];
    return await remove(account.endpoints, id, "endpoint");
  });
  const workersOf = (endpoint: Endpoint) =>
    (running.get(endpoint.id)?.status() ?? []).map(({ worker, state, stale }) => ({
      id: worker.id,
      status: state,
      isStale: stale,
      version: stale ? null : version(endpoint.id),
      gpuCount: endpoint.gpu?.count ?? 0,
      image: endpoint.image,
      uptimeSeconds: Math.floor((Date.now() - worker.startedAt) / 1000),
      gpuTypeId: null,
      dataCenterId: endpoint.dataCenterIds[0] ?? null,
      startedAt: new Date(worker.startedAt).toISOString(),
    }));
  app.get("/serverless/:id/workers", (c) => {
    const endpoint = endpointOf(c.req.param("id"));
    const workers = workersOf(endpoint);
    const count = (status: string) => workers.filter((worker) => worker.status === status).length;
    return c.json({
      workers,
      summary: {
        running: count("RUNNING"),
        idle: count("IDLE"),
        initializing: count("INITIALIZING"),
        throttled: 0,
        unhealthy: 0,
        total: workers.length,
      },
      endpointVersion: version(endpoint.id),
    });
  });
  app.get("/serverless/:id/releases", (c) => {
    const endpoint = endpointOf(c.req.param("id"));
    const workers = workersOf(endpoint);
    const latest = workers.filter(({ isStale }) => !isStale).length;
    return c.json({
      endpointVersion: version(endpoint.id),
      rollout: {
        inProgress: latest < workers.length,
        workersOnLatest: latest,
        workersTotal: workers.length,
        percentOnLatest: workers.length === 0 ? 0 : Math.round(100 * latest / workers.length),
      },
      releases: (account.releases[endpoint.id] ?? []).map((one) => ({
        ...one,
        source: "MANUAL",
        buildId: null,
        createdByUserId: null,
        workerCount: one.version === version(endpoint.id) ? latest : 0,
      })),
    });
  });

  // --- catalog and billing
  const query = (url: string) => new URL(url).searchParams;
  app.get("/catalog/gpus", (c) => c.json({ gpus: listGpus(query(c.req.url), availability) }));
  app.get("/catalog/datacenters", (c) => {
    return c.json({ dataCenters: listDataCenters(query(c.req.url), availability) });
  });
  app.get("/billing/serverless", (c) => {
    const open = [...running.values()].flatMap((one) => one.sessions());
    return c.json(serverlessBilling(query(c.req.url), [...account.sessions, ...open]));
  });

  return {
    async fetch(request) {
      const url = new URL(request.url);
      if (`${url.pathname}/`.startsWith(`${prefix}/`)) return await app.fetch(request);
      return await runtime(request, url);
    },
    workers: () =>
      [...running.values()].flatMap((one) => one.status().flatMap(({ worker }) => worker.pid ?? [])),
    async stop() {
      await Promise.all([...running.values()].map((one) => one.stop()));
      await save();
    },
  };

  /** The routes of endpoints: runs and load balancing for clients, the pull protocol for workers. */
  async function runtime(request: Request, url: URL): Promise<Response> {
    const [, kind = "", id = ""] = /^\/runpod\/(v2|lb|workers)\/([^/]+)/.exec(url.pathname) ?? [];
    const type = account.endpoints.find((endpoint) => endpoint.id === id)?.type;
    const endpoint = (type === "LOAD_BALANCER") === (kind === "lb") ? running.get(id) : undefined;
    if (endpoint === undefined) {
      const authorized = request.headers.get("authorization") === `Bearer ${apiKey}`;
      return authorized
        ? Response.json({ error: "endpoint not found" }, { status: 404 })
        : Response.json({ error: "unauthorized" }, { status: 401 });
    }
    if (kind !== "workers") return await endpoint.fetch(request);
    url.pathname = `/runpod${url.pathname.slice(`/runpod/workers/${id}`.length)}`;
    return await endpoint.fetch(new Request(url, request));
  }
}

function requestUrls({ id, type }: Endpoint, url: string): Record<string, string> {
  if (type === "LOAD_BALANCER") {
    return { base: `${url}/runpod/lb/${id}`, health: `${url}/runpod/lb/${id}/ping` };
  }
  const base = `${url}/runpod/v2/${id}`;
  return {
    run: `${base}/run`,
    runSync: `${base}/runsync`,
    status: `${base}/status/{job_id}`,
    stream: `${base}/stream/{job_id}`,
    cancel: `${base}/cancel/{job_id}`,
    retry: `${base}/retry/{job_id}`,
    purgeQueue: `${base}/purge-queue`,
    health: `${base}/health`,
  };
}
