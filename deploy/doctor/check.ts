/** Checks and their results, and running them. */
import { DeployError } from "../errors.ts";
import { PlatformError, suggestFix } from "../platforms/request.ts";
import { commandLine } from "../sources.ts";
import type { Installation, Release } from "./installation.ts";

export interface Check {
  /** Names the check in output and `--json`: `cron-ticks`. */
  id: string;
  status: "ok" | "warning" | "error";
  /** What was found; never a secret. */
  found: string;
  /** How to fix it, often a command. null: nothing to do. */
  fix: string | null;
}

/** Checks of one part of an installation. Read-only. */
export interface CheckGroup {
  /** The id of the check that is reported if the group cannot run: `database`. */
  id: string;
  run(installation: Installation, release: Release): Promise<Check[]>;
}

export const ok = (id: string, found: string): Check => ({ id, status: "ok", found, fix: null });
export const warning = (id: string, found: string, fix: string): Check => ({
  id,
  status: "warning",
  found,
  fix,
});
export const failed = (id: string, found: string, fix: string): Check => ({
  id,
  status: "error",
  found,
  fix,
});

export const deployCommand = commandLine("deploy");

/** Runs the groups concurrently and reports their checks in order. */
export async function runChecks(
  groups: CheckGroup[],
  installation: Installation,
  release: Release,
  report: (check: Check) => void = () => {},
): Promise<Check[]> {
  const running = groups.map((group) => runGroup(group, installation, release));
  const all: Check[] = [];
  for (const group of running) {
    for (const found of await group) {
      const check = { ...found, fix: withProfile(found.fix, installation) };
      report(check);
      all.push(check);
    }
  }
  return all;
}

/** Adds this installation's options to the fix's command, which would otherwise deploy another one. */
function withProfile(fix: string | null, { state: { profile, target } }: Installation): string | null {
  const options = [
    profile === "default" ? "" : ` --profile ${profile}`,
    target === "emulators" ? " --target emulators" : "",
  ].join("");
  return fix?.replaceAll(deployCommand, deployCommand + options) ?? null;
}

/** Reports a group that cannot run as a failed check, so that the others still run. */
async function runGroup(
  { id, run }: CheckGroup,
  installation: Installation,
  release: Release,
): Promise<Check[]> {
  try {
    return await run(installation, release);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const message = error instanceof PlatformError ? `${error.platform}: ${text}` : text;
    return [failed(id, `could not be checked: ${message}`, fixFor(error))];
  }
}

function fixFor(error: unknown): string {
  if (error instanceof DeployError) return error.fix;
  if (error instanceof PlatformError) return suggestFix(error);
  return "Fix the problem in the message, then run the command again.";
}

/** `45 s`, `12 min`, `3 h`, `5 days`. */
export function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
