/** RunPod's live prices for the GPUs of the selected pools. */
import { DeployError } from "./errors.ts";
import { pools as knownPools } from "./gpus.ts";
import type { Gpu } from "./platforms/runpod.ts";

export interface PoolSelection {
  /** The first pool's GPU. */
  gpuType: string;
  /** GB: the minimum over all pools, because a worker may run in any of them. */
  memory: number;
  /** USD per GPU hour: of the first pool, and the maximum over all pools. */
  usdPerHour: { first: number; highest: number };
}

/** Throws a DeployError if the account cannot use a pool. */
export function selectPools(gpus: Gpu[], pools: string[]): PoolSelection {
  const all = pools.map((pool) => {
    const types = gpus.filter((gpu) => gpu.pool === pool);
    const prices = types.flatMap(({ price }) => price.serverless ?? []);
    const [type] = types;
    if (type === undefined || prices.length === 0) {
      const known = [...new Set(gpus.flatMap(({ pool }) => pool ?? []))].sort();
      throw new DeployError(
        `RunPod has no serverless GPU pool ${pool} for this account.`,
        `Choose pools with --gpu from: ${
          (known.length > 0 ? known : knownPools.map(({ id }) => id)).join(", ")
        }.`,
      );
    }
    return { type, memory: Math.min(...types.map(({ memory }) => memory)), usd: Math.max(...prices) };
  });
  const [first] = all;
  if (first === undefined) throw new Error("no GPU pools are chosen");
  return {
    gpuType: first.type.name,
    memory: Math.min(...all.map(({ memory }) => memory)),
    usdPerHour: { first: first.usd, highest: Math.max(...all.map(({ usd }) => usd)) },
  };
}
