/** The cost of a deployment at RunPod's live prices: per month while idle, and per hour while workers run. */
import { chosenModels } from "./catalog.ts";
import { selectPools } from "./prices.ts";
import type { Context } from "./step.ts";
import { findVolume, volumeSize } from "./steps/runpod_volume.ts";
import { trainerPools } from "./steps/runpod_trainer.ts";

export interface Cost {
  what: string;
  /** For display: `$3.50 per month`. */
  price: string;
  /** USD; `high` is the price of the most expensive pool. */
  usd: { low: number; high: number };
  per: "month" | "hour";
}

export interface Costs {
  lines: Cost[];
  /** USD per month without jobs or requests, excluding Supabase. */
  idleUsdPerMonth: number;
}

/** The documented price for the first TB, because RunPod's catalog has no price for storage. */
const volumeUsdPerGbMonth = 0.07;

export async function planCosts(context: Context): Promise<Costs> {
  const { settings, runpod } = context;
  const [gpus, models, volume] = await Promise.all([
    runpod.listGpus(),
    chosenModels(settings.models),
    findVolume(context),
  ]);
  // A volume never shrinks.
  const size = Math.max(volumeSize(models), volume?.size ?? 0);
  const idle = Number((size * volumeUsdPerGbMonth).toFixed(2));
  const lines: Cost[] = [{
    what: `network volume (${size} GB), even while idle`,
    price: `${dollars(idle)} per month`,
    usd: { low: idle, high: idle },
    per: "month",
  }];
  const worker = (what: string, pools: string[], count: number) => {
    const { first, highest } = selectPools(gpus, pools).usdPerHour;
    const [low, high] = [first * count, highest * count];
    const price = `${low === high ? dollars(low) : `${dollars(low)} to ${dollars(high)}`} per hour`;
    lines.push({ what, price, usd: { low, high }, per: "hour" });
  };
  const trainer = trainerPools(settings, models);
  worker(
    `each training worker while it runs (${
      trainer.join(", ")
    }; at most ${settings.maxWorkers} at the same time)`,
    trainer,
    1,
  );
  for (const { inference, name } of models) {
    if (inference === undefined) continue;
    const { gpus: count, pools } = inference;
    const hardware = count === 1 ? pools.join(", ") : `${count} GPUs: ${pools.join(", ")}`;
    worker(
      `the inference worker of ${name} while it runs, and for 5 minutes after (${hardware})`,
      pools,
      count,
    );
  }
  return { lines, idleUsdPerMonth: idle };
}

const dollars = (usd: number) => `$${usd.toFixed(2)}`;
