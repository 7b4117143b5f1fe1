/** Delta debugging (Zeller's ddmin): the fewest of the steps that still go wrong, each try on a database of its own. */
import { kindNames, type Step } from "./commands.ts";
import { type Walk, walk } from "./run.ts";

const kindOf = (walked: Walk) => walked.problems[0]?.split(":")[0];

/** Looks for at most `seconds`; returns the smallest walk that failed with the same kind of problem. */
export async function shrink(failed: Walk, seconds: number): Promise<Walk> {
  const until = performance.now() + seconds * 1000;
  let best = failed;
  /** Whether these steps go wrong too, in the same way; then they are the best. */
  const take = async (steps: Step[]): Promise<boolean> => {
    if (steps.length === best.steps.length || performance.now() > until) return false;
    const tried = await walk({ steps });
    if (kindOf(tried) !== kindOf(failed)) return false;
    best = tried;
    return true;
  };
  // Mostly whole kinds of steps have nothing to do with it.
  for (const kind of kindNames) await take(best.steps.filter((step) => step.kind !== kind));
  let parts = 2;
  while (best.steps.length > 1 && performance.now() < until) {
    const size = Math.ceil(best.steps.length / parts);
    let smaller = false;
    for (let end = best.steps.length; end > 0 && !smaller; end -= size) {
      smaller = await take([...best.steps.slice(0, Math.max(0, end - size)), ...best.steps.slice(end)]);
    }
    if (smaller) parts = Math.max(2, parts - 1);
    else if (size === 1) break;
    else parts = Math.min(best.steps.length, parts * 2);
  }
  return best;
}
