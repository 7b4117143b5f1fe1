/** What goes wrong inside a request, by chance. */
import { type Plan, smooth } from "./faults.ts";
import type { Random } from "./random.ts";

/** Mostly nothing. The place is among its first effects: few requests have more. `park`: how often it is held up. */
export function planOf(chance: Random, effects = 6, park = 10): Plan {
  const fault = chance.weighted({
    "none": 72,
    "die before": 6,
    "die after": 6,
    "fail before": 3,
    "fail after": 3,
    park,
  });
  return fault === "none" ? smooth : { fault, at: 1 + chance.below(effects) };
}
