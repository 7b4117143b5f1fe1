/** Delta debugging (Zeller's ddmin): the fewest commands that still fail, each try on its own database. */
import { type Command, kindNames } from "./commands.ts";
import { runSimulation, type SimulationResult } from "./run.ts";

const kindOf = (result: SimulationResult) => result.problems[0]?.split(":")[0];

/** Searches for at most `seconds`; returns the smallest run that fails with the same kind of problem. */
export async function shrink(failed: SimulationResult, seconds: number): Promise<SimulationResult> {
  const until = performance.now() + seconds * 1000;
  let best = failed;
  /** Whether these commands fail in the same way; if so, keeps them as the best. */
  const take = async (steps: Command[]): Promise<boolean> => {
    if (steps.length === best.steps.length || performance.now() > until) return false;
    const tried = await runSimulation({ steps });
    if (kindOf(tried) !== kindOf(failed)) return false;
    best = tried;
    return true;
  };
  // Most kinds of commands are unrelated to the failure.
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
