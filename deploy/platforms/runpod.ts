/** The part of RunPod's REST API, version 2 (https://api.runpod.io/v2), that a deployment needs. */
import * as z from "zod";
import { call, type Method, PlatformError, type PlatformOptions } from "./request.ts";

const Volume = z.object({ id: z.string(), name: z.string(), size: z.number(), dataCenter: z.string() });
export type Volume = z.infer<typeof Volume>;

const Registry = z.object({ id: z.string(), name: z.string() });
export type Registry = z.infer<typeof Registry>;

const Gpu = z.object({
  id: z.string(),
  name: z.string(),
  /** null: not in a serverless pool. */
  pool: z.string().nullable(),
  /** GB. */
  memory: z.number(),
  /** USD per GPU hour; absent if the account cannot use the pool. */
  price: z.object({ serverless: z.number().optional() }),
  /** Absent: not available in any data center. */
  dataCenters: z.array(z.object({ id: z.string(), availability: z.string() })).optional(),
});
export type Gpu = z.infer<typeof Gpu>;

const DataCenter = z.object({
  id: z.string(),
  name: z.string(),
  region: z.string(),
  /** Empty: no network volumes. */
  networkVolumeTypes: z.array(z.string()),
});
export type DataCenter = z.infer<typeof DataCenter>;

export type Scaling = { type: "QUEUE_DELAY"; queueDelay: number } | {
  type: "REQUEST_COUNT";
  requestCount: number;
};

const Endpoint = z.object({
  id: z.string(),
  name: z.string(),
  type: z.enum(["QUEUE", "LOAD_BALANCER"]).optional(),
  image: z.string().optional(),
  env: z.record(z.string(), z.string()).default({}),
  ports: z.array(z.string()).default([]),
  disk: z.number().optional(),
  registry: z.string().nullish(),
  gpu: z.object({
    pools: z.array(z.string()),
    count: z.number().default(1),
    minCudaVersion: z.string().nullish(),
  }).nullish(),
  workers: z.object({ min: z.number(), max: z.number(), idleTimeout: z.number().optional() }),
  scaling: z.union([
    z.object({ type: z.literal("QUEUE_DELAY"), queueDelay: z.number() }),
    z.object({ type: z.literal("REQUEST_COUNT"), requestCount: z.number() }),
  ]),
  dataCenterIds: z.array(z.string()),
  networkVolumes: z.array(z.string()),
  /** Milliseconds. */
  timeout: z.number(),
  flashboot: z.string(),
});
export type Endpoint = z.infer<typeof Endpoint>;

/** An endpoint's desired settings. */
export interface EndpointSettings {
  name: string;
  image: string;
  env: Record<string, string>;
  ports: string[];
  /** GB of the container's disk. */
  disk: number;
  registry: string | null;
  gpu: { pools: string[]; count: number; minCudaVersion: string };
  workers: { min: number; max: number; idleTimeout: number };
  scaling: Scaling;
  dataCenterIds: string[];
  networkVolumes: string[];
  timeout: number;
  flashboot: "OFF" | "FLASHBOOT";
}

const Workers = z.object({
  workers: z.array(z.object({
    id: z.string(),
    status: z.string(),
    /** Whether it runs an older release of the endpoint. */
    isStale: z.boolean(),
    image: z.string().nullish(),
    gpuTypeId: z.string().nullish(),
    dataCenterId: z.string().nullish(),
  })),
  summary: z.object({
    running: z.number(),
    idle: z.number(),
    initializing: z.number(),
    throttled: z.number(),
    unhealthy: z.number(),
    total: z.number(),
  }),
});
export type EndpointWorkers = z.infer<typeof Workers>;

const Billing = z.object({
  records: z.array(z.object({
    startTime: z.string(),
    endTime: z.string(),
    serverlessId: z.string(),
    /** USD. */
    totalAmount: z.number(),
    gpuAmount: z.number(),
    diskAmount: z.number(),
    feeAmount: z.number(),
  })),
});
export type BillingRecord = z.infer<typeof Billing>["records"][number];

export class RunpodApi {
  readonly #options: PlatformOptions;
  constructor(baseUrl: string, token: string) {
    this.#options = {
      platform: "RunPod",
      baseUrl,
      token,
      refused:
        "Create an API key with access to REST at https://console.runpod.io/user/settings and set RUNPOD_API_KEY.",
    };
  }

  async listVolumes(): Promise<Volume[]> {
    const schema = z.object({ networkVolumes: z.array(Volume) });
    return (await this.#call("GET", "/network-volumes", schema)).networkVolumes;
  }

  createVolume(volume: { name: string; size: number; dataCenter: string }): Promise<Volume> {
    return this.#call("POST", "/network-volumes", Volume, volume);
  }

  /** A volume can only grow. */
  updateVolume(id: string, changes: { size: number }): Promise<Volume> {
    return this.#call("PATCH", `/network-volumes/${id}`, Volume, changes);
  }

  deleteVolume(id: string): Promise<void> {
    return this.#delete(`/network-volumes/${id}`);
  }

  /** Credentials by name. RunPod never returns their contents. */
  async listRegistries(): Promise<Registry[]> {
    return (await this.#call("GET", "/registries", z.object({ registries: z.array(Registry) }))).registries;
  }

  createRegistry(registry: { name: string; username: string; password: string }): Promise<Registry> {
    return this.#call("POST", "/registries", Registry, registry);
  }

  deleteRegistry(id: string): Promise<void> {
    return this.#delete(`/registries/${id}`);
  }

  async listEndpoints(): Promise<Endpoint[]> {
    return (await this.#call("GET", "/serverless", z.object({ endpoints: z.array(Endpoint) }))).endpoints;
  }

  createEndpoint(settings: EndpointSettings & { type: "QUEUE" | "LOAD_BALANCER" }): Promise<Endpoint> {
    return this.#call("POST", "/serverless", Endpoint, settings);
  }

  /** `env` replaces the whole environment. */
  updateEndpoint(id: string, changes: Partial<EndpointSettings>): Promise<Endpoint> {
    return this.#call("PATCH", `/serverless/${id}`, Endpoint, changes);
  }

  deleteEndpoint(id: string): Promise<void> {
    return this.#delete(`/serverless/${id}`);
  }

  getWorkers(id: string): Promise<EndpointWorkers> {
    return this.#call("GET", `/serverless/${id}/workers`, Workers);
  }

  /** GPU types with their pool, serverless price and availability. */
  async listGpus(): Promise<Gpu[]> {
    const schema = z.object({ gpus: z.array(Gpu) });
    return (await this.#call("GET", "/catalog/gpus?include=AVAILABILITY&product=SERVERLESS", schema)).gpus;
  }

  async listDataCenters(): Promise<DataCenter[]> {
    const schema = z.object({ dataCenters: z.array(DataCenter) });
    return (await this.#call("GET", "/catalog/datacenters", schema)).dataCenters;
  }

  /** The cost of each endpoint per bucket. RunPod widens the range to whole buckets. */
  async billing(from: Date, to: Date, bucketSize: "hour" | "day" = "day"): Promise<BillingRecord[]> {
    const query = new URLSearchParams({
      startTime: from.toISOString(),
      endTime: to.toISOString(),
      bucketSize,
    });
    return (await this.#call("GET", `/billing/serverless?${query}`, Billing)).records;
  }

  #call<T>(method: Method, path: string, schema: z.ZodType<T>, body?: unknown): Promise<T> {
    return call(this.#options, method, path, schema, body);
  }

  /** Deletes a resource; does nothing if it no longer exists. */
  async #delete(path: string): Promise<void> {
    try {
      await this.#call("DELETE", path, z.unknown());
    } catch (error) {
      if (!(error instanceof PlatformError && error.status === 404)) throw error;
    }
  }
}
