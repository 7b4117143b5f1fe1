/** Shows plans and costs, and asks for consent. */
import { CliError } from "../cli/errors.ts";
import { print, stdoutColors } from "../cli/terminal/output.ts";
import { confirm, isInteractive } from "../cli/terminal/prompt.ts";
import type { Costs } from "./costs.ts";
import type { PlannedStep } from "./plan.ts";
import type { Change } from "./step.ts";

/** A plan in JSON: each change with its step's id. */
export const changesOf = (planned: PlannedStep[]): ({ step: string } & Change)[] =>
  planned.flatMap(({ step, changes }) => changes.map((change) => ({ step: step.id, ...change })));

export function printPlan(planned: PlannedStep[]): void {
  const marks = {
    create: stdoutColors.green("create"),
    update: stdoutColors.yellow("update"),
    delete: stdoutColors.red("delete"),
  };
  for (const { step, changes } of planned) {
    if (changes.length === 0) continue;
    print(stdoutColors.bold(step.title));
    for (const { action, what, why } of changes) {
      print(`  ${marks[action]}  ${what}${why === undefined ? "" : ` (${why})`}`);
    }
  }
}

export function printCosts(costs: Costs): void {
  print(`\n${stdoutColors.bold("Cost")}`);
  for (const { what, price } of costs.lines) print(`  ${price}  ${what}`);
}

/** Asks for consent, unless `yes`. Throws a CliError if there is no terminal to ask in. */
export async function agreed(yes: boolean | undefined, question: string): Promise<boolean> {
  if (yes) return true;
  if (!isInteractive()) {
    throw new CliError("This needs your consent. Add --yes, or run the command in a terminal.");
  }
  return await confirm(question);
}
