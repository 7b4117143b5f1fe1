/** Plans, applies and removes a deployment. Steps run in order, and the state is saved after each one. */
import { saveState } from "./state.ts";
import type { Change, Context, Step } from "./step.ts";

export interface PlannedStep {
  step: Step;
  changes: Change[];
}

/** What each step would change. Read-only. */
export async function planSteps(steps: Step[], context: Context): Promise<PlannedStep[]> {
  const planned: PlannedStep[] = [];
  for (const step of steps) planned.push({ step, changes: await step.plan(context) });
  return planned;
}

/**
 * Applies the steps that have changes. Each is planned again right before it runs, because earlier steps have created what
 * it needs. `done` is called after a step, with its duration in seconds.
 */
export async function applySteps(
  steps: Step[],
  context: Context,
  begin: (step: Step) => void,
  done: (step: Step, seconds: number) => void,
): Promise<void> {
  for (const step of steps) {
    const changes = await step.plan(context);
    if (changes.length === 0) continue;
    begin(step);
    const started = performance.now();
    await step.apply(context);
    await saveState(context.state);
    done(step, (performance.now() - started) / 1000);
  }
}

const removalOrder = (steps: Step[]) =>
  steps.toReversed().toSorted((a, b) => Number(b.removedFirst ?? false) - Number(a.removedFirst ?? false));

/** What `destroy` would remove, in reverse order of the steps. `data`: including stored data. */
export async function planRemovals(
  steps: Step[],
  context: Context,
  options: { data: boolean },
): Promise<PlannedStep[]> {
  const planned: PlannedStep[] = [];
  for (const step of removalOrder(steps)) {
    const changes = await step.planRemoval?.(context, options) ?? [];
    if (changes.length > 0) planned.push({ step, changes });
  }
  return planned;
}

/** Removes what {@link planRemovals} lists. */
export async function removeSteps(
  steps: Step[],
  context: Context,
  options: { data: boolean },
  done: (step: Step, seconds: number) => void,
): Promise<void> {
  for (const step of removalOrder(steps)) {
    if ((await step.planRemoval?.(context, options) ?? []).length === 0) continue;
    const started = performance.now();
    await step.remove?.(context, options);
    await saveState(context.state);
    done(step, (performance.now() - started) / 1000);
  }
}
