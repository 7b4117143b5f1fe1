/** Schedules test files over processes: which files share one, and the longest first, by the durations of the last complete run. */
import { cache } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";

const record = join(cache, "test_durations.json");

/**
 * The longest groups, longest first: folders, and files with a process of their own. Then the files that have one because
 * they replace globals, set the environment, have a `beforeEach` or start an isolate that retires while other files run.
 */
const known = [
  "tests/cli/commands_test.ts",
  "tests/fuzz/fuzz_test.ts",
  "tests/bench/bench_test.ts",
  "tests/e2e/training_test.ts",
  "tests/e2e/recovery_test.ts",
  "tests/e2e/deploy_test.ts",
  "tests/deploy/deploy_test.ts",
  "tests/dashboard",
  "tests/crash/crash_test.ts",
  "tests/dashboard/dashboard_test.ts",
  "tests/inference",
  "tests/cli",
  "tests/api",
  "tests/webhooks",
  "tests/jobs",
  "tests/e2e/inference_engine_test.ts",
  "tests/api/isolate_retirement_test.ts",
  "tests/database/host_app_test.ts",
  "tests/files/uploads_test.ts",
  "tests/jobs/estimate_test.ts",
  "tests/deploy/doctor_emulators_test.ts",
  "tests/files/file_conversion_test.ts",
  "tests/cli/transfers_test.ts",
  "tests/simulation/simulation_test.ts",
  "tests/deploy/doctor_test.ts", // the last tick, at its start, must be recent
  "tests/deploy/package_test.ts",
  "tests/deploy/command_line_test.ts",
  "tests/callbacks/concurrent_verification_test.ts",
  "tests/files/upload_limits_test.ts",
];

/** Test files that run in one process, and what a run calls them. */
export interface Group {
  name: string;
  files: string[];
}

/**
 * The files of a folder share a process, except those in `known`. Each process spends more than a second of a core on
 * loading the functions and their libraries, and as much again until V8 has optimized them.
 */
export function groups(files: string[]): Group[] {
  const found = new Map<string, string[]>();
  for (const file of files) {
    const name = known.includes(file) ? file : file.slice(0, file.lastIndexOf("/"));
    found.set(name, [...found.get(name) ?? [], file]);
  }
  return [...found].map(([name, files]) => ({ name, files }));
}

/** Sorted by the recorded duration, longest first; new groups come before short ones. */
export async function longestFirst(groups: Group[]): Promise<Group[]> {
  const recorded: Record<string, number> = JSON.parse(await Deno.readTextFile(record).catch(() => "{}"));
  const seconds = ({ name }: Group) => {
    const rank = known.indexOf(name);
    return recorded[name] ?? (rank === -1 ? 30 : 1000 - rank);
  };
  return groups.toSorted((a, b) => seconds(b) - seconds(a));
}

/** Runs the jobs in order, at most `workers` at a time. */
export async function inParallel(jobs: (() => Promise<void>)[], workers: number): Promise<void> {
  const queue = [...jobs];
  await Promise.all(Array.from({ length: workers }, async () => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await job();
  }));
}

/** Records the seconds of each group for the next run. */
export async function recordDurations(durations: Map<string, number>): Promise<void> {
  const rounded = [...durations].map(([file, seconds]) => [file, Math.round(seconds * 10) / 10]);
  await Deno.writeTextFile(record, `${JSON.stringify(Object.fromEntries(rounded), null, 2)}\n`);
}

/** The ten slowest groups, a line for each. */
export function slowest(durations: Map<string, number>): string {
  return [...durations].sort(([, a], [, b]) => b - a).slice(0, 10)
    .map(([file, seconds]) => `${seconds.toFixed(1).padStart(7)} s  ${file}`).join("\n");
}
