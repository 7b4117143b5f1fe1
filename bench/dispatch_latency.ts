/**
 * From the answer to POST /fine_tuning/jobs until RunPod has the run, on an idle machine: the API's nudge, the scheduler's
 * claim, and the call. The timer has no part in it. Every part is a process of its own, behind the local gateway; RunPod's
 * stand-in and the client share this one, and so a clock.
 */
import { type Measured, percentile, type Size } from "./results.ts";
import { createJob, startStand, until } from "./harness.ts";

const sizes = { full: { jobs: 300, warmups: 20 }, short: { jobs: 3, warmups: 1 } };

export async function dispatchLatency(log: (line: string) => void, size: Size): Promise<Measured[]> {
  const { jobs, warmups } = sizes[size];
  const stand = await startStand({ cronSeconds: 3600 });
  const { runpod } = stand;
  try {
    const times: number[] = [];
    for (let n = -warmups; n < jobs; n++) {
      const before = runpod.runs.length;
      await createJob(stand);
      const accepted = performance.now();
      await until("the dispatch of a job", 10, () => runpod.runs.length > before);
      const arrived = runpod.runs.at(-1)?.at ?? NaN;
      // The first few find cold functions. A run that came before its job's answer took no time at all.
      if (n >= 0) times.push(Math.max(0, arrived - accepted));
      await new Promise((resolve) => setTimeout(resolve, 15)); // idle again: the scheduler's tick has ended
    }
    log(
      `${jobs} jobs, one after the other: ${
        times.filter((ms) => ms === 0).length
      } were there before the answer`,
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
    await stand.close();
  }
}
