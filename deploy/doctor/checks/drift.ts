/** What `task deploy` would change: every difference from the settings of the last deployment. */
import type { PlannedStep } from "../../plan.ts";
import { type CheckGroup, deployCommand, ok, warning } from "../check.ts";

export const driftChecks = (plan: () => Promise<PlannedStep[]>): CheckGroup => ({
  id: "drift",
  async run() {
    const changed = (await plan()).filter(({ changes }) => changes.length > 0);
    if (changed.length === 0) return [ok("drift", `none: \`${deployCommand}\` would change nothing`)];
    return changed.map(({ step, changes }) =>
      warning(
        `drift-${step.id}`,
        changes.map(({ action, what, why }) => `${action} ${what}${why === undefined ? "" : ` (${why})`}`)
          .join(
            "; ",
          ),
        `Apply: ${deployCommand}`,
      )
    );
  },
});
