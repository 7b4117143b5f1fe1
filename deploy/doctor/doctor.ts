/** `task doctor`: checks an installation and says how to fix problems. Changes nothing. */
import { print, printJson, printTable, stdoutColors } from "../../cli/terminal/output.ts";
import { version } from "../../cli/version.ts";
import { planSteps } from "../plan.ts";
import { migrations } from "../sources.ts";
import type { Context } from "../step.ts";
import { steps } from "../steps/mod.ts";
import { billChecks, billTable, dayStart, loadBill } from "./bills.ts";
import { pluralize } from "../../cli/terminal/format.ts";
import { type Check, type CheckGroup, runChecks } from "./check.ts";
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
  /** Checks in addition to {@link checkGroups}. */
  more?: CheckGroup[];
}

/** The expected release, and additional checks that need the steps: what a deployment would change. */
async function everyCheck(context: Context): Promise<{ release: Release; more: CheckGroup[] }> {
  return {
    release: { version, migrations: (await migrations()).map((one) => one.version) },
    more: [driftChecks(() => planSteps(steps, context))],
  };
}

/** Runs all checks after a deployment; `report` gets each as it is found. */
export async function checkDeployment(context: Context, report: (check: Check) => void): Promise<Check[]> {
  const { release, more } = await everyCheck(context);
  return await runChecks([...checkGroups, ...more], context, release, report);
}

/** Runs all checks on the installation that a deployment's steps work on, against this version. */
export async function doctorOf(context: Context, options: Omit<DoctorOptions, "more">): Promise<boolean> {
  const { release, more } = await everyCheck(context);
  return await doctor(context, release, { ...options, more });
}

/** Prints the checks or the bills. Returns whether there is no error. */
export async function doctor(
  installation: Installation,
  release: Release,
  { json, billDays, more = [] }: DoctorOptions,
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
    json ? () => {} : printCheck,
  );
  if (json) printJson({ object: "doctor", ok: isWorking(checks), checks });
  else print(`\n${summary(checks)}`);
  return isWorking(checks);
}

const having = (checks: Check[], wanted: Check["status"]) =>
  checks.filter(({ status }) => status === wanted).length;

/** Whether no check found an error. */
export const isWorking = (checks: Check[]): boolean => having(checks, "error") === 0;

/** `31 checks: 0 errors, 1 warning`. */
export const summary = (checks: Check[]): string =>
  `${pluralize(checks.length, "check")}: ${pluralize(having(checks, "error"), "error")}, ${
    pluralize(having(checks, "warning"), "warning")
  }`;

const marks = {
  ok: stdoutColors.green("ok  "),
  warning: stdoutColors.yellow("WARN"),
  error: stdoutColors.red("FAIL"),
} as const;

/** Prints a check and its fix. */
export function printCheck({ id, status, found, fix }: Check): void {
  print(`${marks[status]}  ${id}: ${found}`);
  if (fix !== null) print(`      ${fix}`);
}
