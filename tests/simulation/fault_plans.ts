/** Random faults within a request. */
import { type FaultPlan, noFaults } from "./faults.ts";
import type { Random } from "./random.ts";

/** A fault at one of the first `effects`, or (mostly) none. `park`: the weight of parking the request. */
export function randomFaultPlan(random: Random, effects = 6, park = 10): FaultPlan {
  const fault = random.weighted({
    "none": 72,
    "die before": 6,
    "die after": 6,
    "fail before": 3,
    "fail after": 3,
    park,
  });
  return fault === "none" ? noFaults : { fault, at: 1 + random.below(effects) };
}
