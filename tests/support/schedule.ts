/** Schedules test files over processes: the longest first, by the durations of the last complete run. */
import { cache } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";

const record = join(cache, "test_durations.json");

/** The files that take longest, for a checkout without a recorded run. */
const usuallyLongest = [
  "tests/crash/crash_test.ts",
  "tests/cli/commands_test.ts",
  "tests/dashboard/dashboard_test.ts",
  "tests/bench/bench_test.ts",
  "tests/fuzz/fuzz_test.ts",
  "tests/api/isolate_retirement_test.ts",
  "tests/database/host_app_test.ts",
  "tests/jobs/estimate_test.ts",
];

/** Sorted by the recorded duration, longest first; new files come before short ones. */
export async function longestFirst(files: string[]): Promise<string[]> {
  const recorded: Record<string, number> = JSON.parse(await Deno.readTextFile(record).catch(() => "{}"));
  const seconds = (file: string) => {
    const rank = usuallyLongest.indexOf(file);
    return recorded[file] ?? (rank === -1 ? 10 : 1000 - rank);
  };
  return files.toSorted((a, b) => seconds(b) - seconds(a));
}

/** Runs the jobs in order, at most `workers` at a time. */
export async function inParallel(jobs: (() => Promise<void>)[], workers: number): Promise<void> {
  const queue = [...jobs];
  await Promise.all(Array.from({ length: workers }, async () => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await job();
  }));
}

/** Records the seconds of each file for the next run. */
export async function recordDurations(durations: Map<string, number>): Promise<void> {
  const rounded = [...durations].map(([file, seconds]) => [file, Math.round(seconds * 10) / 10]);
  await Deno.writeTextFile(record, `${JSON.stringify(Object.fromEntries(rounded), null, 2)}\n`);
}

/** The ten slowest files, a line for each. */
export function slowest(durations: Map<string, number>): string {
  return [...durations].sort(([, a], [, b]) => b - a).slice(0, 10)
    .map(([file, seconds]) => `${seconds.toFixed(1).padStart(7)} s  ${file}`).join("\n");
}
