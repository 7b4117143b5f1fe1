/**
 * Whether response times reveal that a resource exists in another project: the same routes with its id and with an unknown
 * id, alternating. Both are a 404 with the same body (`tests/tenancy/isolation_test.ts`).
 */
import { createOneOfEverything } from "../tests/support/fixtures.ts";
import { startTunebase } from "../tests/support/test_server.ts";
import { median, type RawMeasurement, type Size } from "./results.ts";
import { startBenchPostgres } from "./harness.ts";

const sizes = { full: { turns: 400, warmups: 20 }, short: { turns: 4, warmups: 1 } };
const paths = (job: string, file: string) => [
  `/fine_tuning/jobs/${job}`,
  `/fine_tuning/jobs/${job}/adapter`,
  `/fine_tuning/jobs/${job}/metrics`,
  `/files/${file}`,
];

export async function tenancy(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { turns, warmups } = sizes[size];
  const server = await startBenchPostgres("bench-tenancy", size);
  try {
    const tunebase = await startTunebase();
    try {
      const [ada, bob] = [await tunebase.user(), await tunebase.user()];
      await tunebase.sql`update tunebase.projects set requests_per_minute = 1000000`;
      const { jobs = "", files = "" } = await createOneOfEverything(tunebase, bob);
      const kinds = [
        paths(jobs, files),
        paths(`ftjob-${"0123456789abcdef".repeat(2)}`, `file-${"0123456789abcdef".repeat(2)}`),
      ];
      const times: [number[], number[]] = [[], []];
      for (let turn = 0; turn < turns; turn++) {
        // The first call has colder caches.
        for (const kind of turn % 2 === 0 ? [0, 1] : [1, 0]) {
          for (const path of kinds[kind] ?? []) {
            const begin = performance.now();
            const response = await ada.fetch(path);
            await response.text();
            if (response.status !== 404) throw new Error(`${path} was answered ${response.status}`);
            if (turn > warmups) times[kind]?.push(performance.now() - begin);
          }
        }
      }
      const [others, unknowns] = [median(times[0]), median(times[1])];
      log(`another project's ${others.toFixed(3)} ms, an unknown id's ${unknowns.toFixed(3)} ms`);
      return [{
        value: others,
        unit: "ms p50 of a 404 for another project's resource",
        against: `a 404 for an unknown id, ${
          unknowns.toFixed(2)
        } ms; the ratio is that of the quicker to the slower`,
        ratio: Math.min(others, unknowns) / Math.max(others, unknowns),
        goal: 0.9,
      }];
    } finally {
      await tunebase.close();
    }
  } finally {
    await server.stop();
  }
}
