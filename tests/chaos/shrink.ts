/** Delta debugging (Zeller's ddmin): the fewest of the steps that still go wrong, each try on a database of its own. */
import type { Step } from "./steps.ts";
import { type Walk, walk } from "./walk.ts";

const kindOf = (walked: Walk) => walked.problems[0]?.split(":")[0];

/** Looks for at most `seconds`; returns the smallest walk that failed with the same kind of problem. */
export async function shrink(failed: Walk, seconds: number): Promise<Walk> {
  const until = performance.now() + seconds * 1000;
  let best = failed;
  let parts = 2;
  while (best.steps.length > 1 && performance.now() < until) {
    const size = Math.ceil(best.steps.length / parts);
    let smaller: Walk | null = null;
    for (let start = 0; start < best.steps.length && performance.now() < until; start += size) {
      const steps: Step[] = [...best.steps.slice(0, start), ...best.steps.slice(start + size)];
      const tried = await walk({ steps });
      if (tried.problems.length > 0 && kindOf(tried) === kindOf(failed)) {
        smaller = tried;
        break;
      }
    }
    if (smaller !== null) {
      best = smaller;
      parts = Math.max(2, parts - 1);
    } else if (size === 1) break;
    else parts = Math.min(best.steps.length, parts * 2);
  }
  return best;
}
