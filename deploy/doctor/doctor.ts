/** `task doctor`: checks an installation and says how to fix what is wrong. Changes nothing. */
import { print, printJson, printTable, stdoutColors } from "../../cli/terminal/output.ts";
import { billChecks, billTable, dayStart, loadBill } from "./bills.ts";
import { type Check, type CheckGroup, count, runChecks } from "./check.ts";
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
