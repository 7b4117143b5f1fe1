/**
 * From the response of POST /fine_tuning/jobs until RunPod receives the run, on an idle machine: the API's wake-up, the
 * scheduler's claim, and the call, without the timer. Each function is its own process behind the local gateway; the
 * RunPod emulator and the client share this process and its clock.
 */
import { percentile, type RawMeasurement, type Size } from "./results.ts";
import { createJob, startBenchStack, until } from "./harness.ts";

const sizes = { full: { jobs: 300, warmups: 20 }, short: { jobs: 3, warmups: 1 } };

export async function dispatchLatency(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { jobs, warmups } = sizes[size];
  const bench = await startBenchStack({ cronSeconds: 3600 });
  const { runpod } = bench;
  try {
    const times: number[] = [];
    for (let n = -warmups; n < jobs; n++) {
      const before = runpod.runs.length;
      await createJob(bench);
      const accepted = performance.now();
      await until("the dispatch of a job", 10, () => runpod.runs.length > before);
      const arrived = runpod.runs.at(-1)?.at ?? NaN;
      // The first few hit cold functions. A run that arrives before its job's response counts as 0.
      if (n >= 0) times.push(Math.max(0, arrived - accepted));
      await new Promise((resolve) => setTimeout(resolve, 15)); // until the scheduler's tick has ended
    }
    log(
      `${jobs} jobs, one at a time: ${times.filter((ms) => ms === 0).length} were there before the answer`,
    );
    return [[0.5, 25], [0.99, 100]].map(([share = 0, limit = 0]) => {
      const value = percentile(times, share);
      return {
        value,
        unit: `ms p${share * 100}, accepted to /run received`,
        against: `the limit, ${limit} ms`,
        ratio: limit / Math.max(value, 0.01),
        goal: 1,
      };
    });
  } finally {
    await bench.close();
  }
}
