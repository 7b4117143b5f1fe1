/** `task doctor`: checks an installation and says how to fix what is wrong. Changes nothing. */
import { print, printJson, printTable, stdoutColors } from "../../cli/terminal/output.ts";
import { version } from "../../cli/version.ts";
import { planSteps } from "../plan.ts";
import { migrations } from "../sources.ts";
import type { Context } from "../step.ts";
import { steps } from "../steps/mod.ts";
import { billChecks, billTable, dayStart, loadBill } from "./bills.ts";
import { type Check, type CheckGroup, count, runChecks } from "./check.ts";
import { driftChecks } from "./checks/drift.ts";
import { databaseChecks } from "./checks/database.ts";
import { functionChecks } from "./checks/functions.ts";
import { operationChecks } from "./checks/operation.ts";
import { runpodChecks } from "./checks/runpod.ts";
import { secretChecks } from "./checks/secrets.ts";
import { timerChecks } from "./checks/timer.ts";
import type { Installation, Release } from "./installation.ts";

/** In the order in which they are printed: causes before effects. */
export const checkGroups: CheckGroup[] = [
  databaseChecks,
  secretChecks,
  functionChecks,
  timerChecks,
  runpodChecks,
  operationChecks,
  billChecks,
];

export interface DoctorOptions {
  json: boolean;
  /** Prints a table of this many days instead of the checks. null: the checks. */
  billDays: number | null;
  /** Prints only what is not ok, and the numbers. */
  problemsOnly?: boolean;
  /** Checks in addition to {@link checkGroups}. */
  more?: CheckGroup[];
}

/** Checks what a deployment's steps work on, with all checks, against this version. Returns whether there is no error. */
export async function doctorOf(context: Context, options: Omit<DoctorOptions, "more">): Promise<boolean> {
  const release = { version, migrations: (await migrations()).map((one) => one.version) };
  return await doctor(context, release, { ...options, more: [driftChecks(() => planSteps(steps, context))] });
}

/** Prints the checks or the bills. Returns whether there is no error. */
export async function doctor(
  installation: Installation,
  release: Release,
  { json, billDays, problemsOnly = false, more = [] }: DoctorOptions,
): Promise<boolean> {
  if (billDays !== null) {
    const today = dayStart(new Date());
    const bill = await loadBill(installation, dayStart(today, billDays - 1), dayStart(today, -1));
    if (json) printJson({ object: "bill", ...bill });
    else printTable(billTable(bill));
    return true;
  }
  const checks = await runChecks(
    [...checkGroups, ...more],
    installation,
    release,
    (check) => {
      if (!json && !(problemsOnly && check.status === "ok")) printCheck(check);
    },
  );
  const errors = checks.filter(({ status }) => status === "error").length;
  const warnings = checks.filter(({ status }) => status === "warning").length;
  if (json) printJson({ object: "doctor", ok: errors === 0, checks });
  else print(`\n${count(checks.length, "check")}: ${count(errors, "error")}, ${count(warnings, "warning")}`);
  return errors === 0;
}

const marks = {
  ok: stdoutColors.green("ok  "),
  warning: stdoutColors.yellow("WARN"),
  error: stdoutColors.red("FAIL"),
} as const;

function printCheck({ id, status, found, fix }: Check): void {
  print(`${marks[status]}  ${id}: ${found}`);
  if (fix !== null) print(`      ${fix}`);
}
