/**
 * The emulated catalog: RunPod's pools with some GPU types, and data centers. Prices are examples from mid-2026. The real
 * catalog has more types and current prices.
 */
import { Problem } from "./problem.ts";

export type Availability = "NONE" | "LOW" | "MEDIUM" | "HIGH";

interface Gpu {
  id: string;
  name: string;
  pool: string;
  memory: number;
  /** USD per GPU-hour of a serverless worker, by pool. */
  serverless: number;
}
const gpu = (pool: string, memory: number, serverless: number, id: string, name: string): Gpu => ({
  id,
  name,
  pool,
  memory,
  serverless,
});
export const gpus: Gpu[] = [
  gpu("AMPERE_16", 16, 0.576, "NVIDIA RTX A4000", "RTX A4000"),
  gpu("AMPERE_24", 24, 0.684, "NVIDIA L4", "L4"),
  gpu("AMPERE_24", 24, 0.684, "NVIDIA RTX A5000", "RTX A5000"),
  gpu("AMPERE_24", 24, 0.684, "NVIDIA GeForce RTX 3090", "RTX 3090"),
  gpu("ADA_24", 24, 1.116, "NVIDIA GeForce RTX 4090", "RTX 4090"),
  gpu("AMPERE_48", 48, 1.224, "NVIDIA A40", "A40"),
  gpu("AMPERE_48", 48, 1.224, "NVIDIA RTX A6000", "RTX A6000"),
  gpu("ADA_48_PRO", 48, 1.908, "NVIDIA L40S", "L40S"),
  gpu("AMPERE_80", 80, 2.736, "NVIDIA A100-SXM4-80GB", "A100 SXM"),
  gpu("AMPERE_80", 80, 2.736, "NVIDIA A100 80GB PCIe", "A100 PCIe"),
  gpu("ADA_80_PRO", 80, 4.176, "NVIDIA H100 80GB HBM3", "H100 SXM"),
  gpu("HOPPER_141", 141, 5.58, "NVIDIA H200", "H200 SXM"),
  gpu("BLACKWELL_180", 180, 8.64, "NVIDIA B200", "B200"),
];

export const dataCenters = [
  { id: "EU-RO-1", name: "EU Romania 1", region: "EUROPE", networkVolumeTypes: ["STANDARD"] },
  { id: "US-KS-2", name: "US Kansas 2", region: "NORTH_AMERICA", networkVolumeTypes: ["STANDARD"] },
  { id: "EUR-IS-1", name: "EU Iceland 1", region: "EUROPE", networkVolumeTypes: ["STANDARD"] },
  { id: "US-TX-3", name: "US Texas 3", region: "NORTH_AMERICA", networkVolumeTypes: [] },
] as const;

/** Availability of GPU types: EU-RO-1 and US-KS-2 have all; the others have those of the smaller pools. */
export function defaultAvailability(gpuId: string, dataCenter: string): Availability {
  const memory = gpus.find(({ id }) => id === gpuId)?.memory ?? 0;
  if (dataCenter === "EU-RO-1") return memory > 100 ? "LOW" : "HIGH";
  if (dataCenter === "US-KS-2") return "MEDIUM";
  return memory <= 48 ? "MEDIUM" : "NONE";
}

const levels: Availability[] = ["NONE", "LOW", "MEDIUM", "HIGH"];
type Lookup = (gpuId: string, dataCenter: string) => Availability;

/** GET /catalog/gpus. Availability requires a product, and filters require availability. */
export function listGpus(query: URLSearchParams, availability: Lookup) {
  const include = query.get("include");
  const product = query.get("product");
  if (include !== null && include !== "AVAILABILITY") {
    throw new Problem(422, "Request validation failed.", ["include: value must be 'AVAILABILITY'"]);
  }
  if ((include === null) !== (product === null)) {
    throw new Problem(400, "include=AVAILABILITY and product must be sent together");
  }
  if (product !== null && product.split(",").some((one) => !["POD", "CLUSTER", "SERVERLESS"].includes(one))) {
    throw new Problem(422, "Request validation failed.", [
      "product: value must be one of 'POD', 'CLUSTER', 'SERVERLESS'",
    ]);
  }
  const minCuda = query.get("minCudaVersion");
  if (minCuda !== null && include === null) {
    throw new Problem(400, "minCudaVersion is valid only with include=AVAILABILITY");
  }
  return gpus.map(({ id, name, pool, memory, serverless }) => {
    const places = dataCenters.map(({ id: center, name }) => ({
      id: center,
      name,
      availability: availability(id, center),
    })).filter(({ availability }) => availability !== "NONE");
    const best = levels[Math.max(0, ...places.map((place) => levels.indexOf(place.availability)))];
    return {
      id,
      name,
      pool,
      manufacturer: "NVIDIA",
      memory,
      secure: true,
      community: false,
      price: { secure: serverless, community: serverless, serverless },
      maxCount: { secure: 8, community: 0 },
      ...(include === null ? {} : {
        availability: best,
        ...(places.length === 0 ? {} : { dataCenters: places }),
        cudaVersions: ["12.8", "13.0"].map((version) => ({ version, available: best !== "NONE" })),
      }),
    };
  });
}

/** GET /catalog/datacenters. */
export function listDataCenters(query: URLSearchParams, availability: Lookup) {
  const include = query.get("include")?.split(",") ?? [];
  if (include.some((one) => !["GPU_AVAILABILITY", "CPU_AVAILABILITY"].includes(one))) {
    throw new Problem(422, "Request validation failed.", [
      "include: value must be one of 'GPU_AVAILABILITY', 'CPU_AVAILABILITY'",
    ]);
  }
  return dataCenters.map((center) => ({
    ...center,
    compliance: [],
    globalNetwork: false,
    ...(include.includes("GPU_AVAILABILITY")
      ? {
        gpuAvailability: gpus.map(({ id, name }) => ({
          id,
          name,
          availability: availability(id, center.id),
        })).filter(({ availability }) => availability !== "NONE"),
      }
      : {}),
  }));
}

/** USD per hour of a worker with `count` GPUs of the first pool. */
export const workerPrice = (pools: string[], count: number): number =>
  (gpus.find(({ pool }) => pool === pools[0])?.serverless ?? 0) * count;
