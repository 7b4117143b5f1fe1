/**
 * A callback as one SQL call, compared with a transaction of five statements (`multi_statement_baseline.ts`). A proxy
 * simulates the network between an edge function and a database in its region, with about 2 ms each way. The result
 * without the proxy is logged too.
 */
import postgres from "postgres";
import { type EdgeFunction, startFunction } from "../local/emulators/functions/mod.ts";
import { root } from "../local/state_dir.ts";
import { join } from "../local/paths.ts";
import { startLatencyProxy } from "../tests/support/latency_proxy.ts";
import { holdAttempts } from "./attempts.ts";
import { sizes as callbackSizes } from "./callbacks.ts";
import { median, type RawMeasurement, type Size } from "./results.ts";
import { sendReports, type Worker } from "./load.ts";
import { type BenchStack, startBenchStack } from "./harness.ts";

/** Deno's timers fire 1.2 ms late, so this gives just over 2 ms. The bench measures the actual delay. */
const timerMs = 1;
const sizes = {
  full: { roundSeconds: 2.5, near: 2, far: 4 },
  short: { roundSeconds: 0.1, near: 0, far: 1 },
};

interface Side {
  edge: EdgeFunction;
  workers: Worker[];
  rates: number[];
}

export async function callbacksVsMultiStatement(
  log: (line: string) => void,
  size: Size,
): Promise<RawMeasurement[]> {
  const { roundSeconds, ...rounds } = sizes[size];
  const { workers } = callbackSizes[size];
  const bench = await startBenchStack({ cronSeconds: 3600 });
  const lines = [1, 2].map(() => startLatencyProxy(Number(new URL(bench.stack.dbUrl).port), timerMs));
  const sides: Side[] = [];
  try {
    const held = (await holdAttempts(bench, 2 * workers)).map((held) => ({ held, sequence: 0 }));
    const start = async (peer: boolean, port?: number) => {
      const edge = await startSide(bench, peer, port);
      const side = { edge, workers: peer ? held.slice(workers) : held.slice(0, workers), rates: [] };
      sides.push(side);
      return side;
    };
    const far: [Side, Side] = [await start(false, lines[0]?.port), await start(true, lines[1]?.port)];
    const away = await roundTrip(bench.stack.dbUrl, lines[0]?.port ?? 0);

    if (rounds.near > 0) {
      const near: [Side, Side] = [await start(false), await start(true)];
      await measure(near, rounds.near, roundSeconds);
      log(`without latency: ${describe(near)}`);
    }
    const [before, sent] = [lines.map(({ roundTrips }) => roundTrips), far.map(sequences)];
    await measure(far, rounds.far, roundSeconds);
    log(`${away.toFixed(1)} ms away: ${describe(far)}`);
    const trips = far.map((side, i) =>
      ((lines[i]?.roundTrips ?? 0) - (before[i] ?? 0)) / (sequences(side) - (sent[i] ?? 0))
    );
    log(`round trips per callback: ${trips.map((each) => each.toFixed(2)).join(" and ")}`);
    return [{
      value: median(far[0].rates),
      unit: `callbacks/s with the database ${away.toFixed(1)} ms away`,
      against: `five statements in a transaction (${trips[1]?.toFixed(1)} round trips), ${
        median(far[1].rates).toFixed(0)
      }/s`,
      ratio: ratio(far),
      goal: 5,
    }];
  } finally {
    for (const { edge } of sides) await edge.stop();
    for (const line of lines) await line.stop();
    await bench.close();
  }
}

/** The callback function or the baseline, with the database directly or behind a proxy. */
async function startSide({ stack }: BenchStack, peer: boolean, port?: number): Promise<EdgeFunction> {
  // The baseline writes to tables, which the function's own role cannot.
  const url = new URL(peer ? stack.dbUrl : stack.functionEnv.TUNEBASE_CALLBACK_DB_URL ?? "");
  if (port !== undefined) url.port = String(port);
  return await startFunction(
    "tunebase-callback",
    { ...stack.functionEnv, TUNEBASE_CALLBACK_DB_URL: url.href },
    join(stack.home, `logs/bench-${peer ? "peer" : "callback"}.log`),
    peer ? { script: join(root, "bench/multi_statement_baseline.ts") } : {},
  );
}

/** Round-trip time to the database in milliseconds. */
async function roundTrip(dbUrl: string, port: number): Promise<number> {
  const url = new URL(dbUrl);
  url.port = String(port);
  const sql = postgres(url.href, { max: 1, onnotice: () => {} });
  const times: number[] = [];
  for (let n = 0; n < 21; n++) {
    const begin = performance.now();
    await sql`select 1`.simple();
    times.push(performance.now() - begin);
  }
  await sql.end();
  return median(times);
}

/** Alternating rounds of both sides, after one warm-up round. */
async function measure(sides: [Side, Side], rounds: number, seconds: number): Promise<void> {
  for (let round = -1; round < rounds; round++) {
    for (const { edge, workers, rates } of sides) {
      const rate = await sendReports(
        edge.port,
        "/tunebase-callback",
        workers,
        round < 0 ? Math.min(1, seconds) : seconds,
      );
      if (round >= 0) rates.push(rate);
    }
  }
}

const sequences = ({ workers }: Side) => workers.reduce((sum, { sequence }) => sum + sequence, 0);
const ratio = ([ours, theirs]: [Side, Side]) =>
  median(ours.rates.map((rate, i) => rate / (theirs.rates[i] ?? NaN)));
const describe = (sides: [Side, Side]) => {
  const [one, five] = sides.map(({ rates }) => `${median(rates).toFixed(0)}/s`);
  return `one call ${one}, five statements ${five}: ${ratio(sides).toFixed(2)} times`;
};
