/**
 * Verified durable callbacks per second, compared with pgbench calling the same SQL function. The difference is the cost of
 * the function: HTTP, signature, validation, the driver.
 */
import { startFunction } from "../local/emulators/functions/mod.ts";
import { join } from "../local/paths.ts";
import { holdAttempts } from "./attempts.ts";
import { median, type RawMeasurement, type Size } from "./results.ts";
import { sendReports } from "./load.ts";
import { findPgbench, pgbenchReports } from "./pgbench.ts";
import { startBenchStack } from "./harness.ts";

/** Size of the function's connection pool (`_shared/database/connect.ts`), also used for pgbench. */
export const connections = 4;
export const sizes = {
  // `workers`: attempts of each side. More than connections, so that the next call is always waiting.
  full: { workers: 16, warmupSeconds: 2, roundSeconds: 3, rounds: 6 },
  short: { workers: 4, warmupSeconds: 0.05, roundSeconds: 0.1, rounds: 1 },
};

export async function callbacks(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { workers, warmupSeconds, roundSeconds, rounds } = sizes[size];
  const program = await findPgbench(log);
  const bench = await startBenchStack({ cronSeconds: 3600 });
  try {
    const { functionEnv, home } = bench.stack;
    const held = await holdAttempts(bench, 2 * workers);
    const sending = held.slice(0, workers).map((held) => ({ held, sequence: 0 }));
    // Directly to the function's process: the gateway belongs to the platform.
    const edge = await startFunction("tunebase-callback", functionEnv, join(home, "logs/bench-callback.log"));
    try {
      const peer = {
        program,
        url: functionEnv.TUNEBASE_CALLBACK_DB_URL ?? "",
        connections,
        attempts: held.slice(workers),
        leaseSeconds: 60,
      };
      await sendReports(edge.port, "/tunebase-callback", sending, warmupSeconds);
      const ours: number[] = [];
      const theirs: number[] = [];
      for (let round = 0; round < rounds; round++) {
        theirs.push(await pgbenchReports(peer, round * 1_000_000 + 1, roundSeconds));
        ours.push(await sendReports(edge.port, "/tunebase-callback", sending, roundSeconds));
        log(
          `round ${round + 1}: ${ours.at(-1)?.toFixed(0)} callbacks/s, pgbench ${
            theirs.at(-1)?.toFixed(0)
          }/s`,
        );
      }
      const rate = median(theirs);
      return [{
        value: median(ours),
        unit: "callbacks/s",
        against: `pgbench calling tunebase_internal.record_progress over ${connections} connections, ${
          rate.toFixed(0)
        }/s`,
        ratio: median(ours.map((value, i) => value / (theirs[i] ?? NaN))),
        goal: 0.7,
      }];
    } finally {
      await edge.stop();
    }
  } finally {
    await bench.close();
  }
}
