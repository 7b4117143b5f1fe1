/**
 * `task chaos`: a randomized simulation of everything that clients, workers, RunPod, the clock and crashes can do to
 * Tunebase. It checks every promise after every command (invariants.sql, model_updates.ts, oracle.ts). It consists of
 * short runs, each on its own database and drained at the end, so that a failure can be replayed and shrunk.
 */
import { parseArgs } from "node:util";
import { cache } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import { startTestPostgres } from "../support/postgres_server.ts";
import { mix } from "./random.ts";
import { shrink } from "./shrink.ts";
import { kindNames } from "./commands.ts";
import type { SimulationResult } from "./run.ts";

const help = `Usage: deno task chaos [--steps N] [--seed N] [--shrink SECONDS] [--help]

Runs random commands with fault injection, and checks every promise after every command.

  --steps N         total number of commands (default 10000)
  --seed N          replays a run (default: the clock)
  --shrink SECONDS  time limit for shrinking a failure (default 120; 0 to skip)

Writes .tunebase/chaos.json. Exit status 1 if a promise was broken.`;

/** The keys of chaos.json by kind of problem. */
const counters: Record<string, string> = {
  lost: "lost",
  duplicate: "doubled",
  metric_twice: "doubled",
  wrong_terminal: "wrong_terminal",
  event_gap: "event_gaps",
  notification_lost: "notifications_owed_lost",
};

/** Commands per run: enough for some thirty jobs to complete. */
const stepsPerRun = 500;

const { values } = parseArgs({
  args: Deno.args,
  options: {
    steps: { type: "string" },
    seed: { type: "string" },
    shrink: { type: "string" },
    help: { type: "boolean" },
  },
});
if (values.help) {
  console.log(help);
  Deno.exit(0);
}
const wanted = whole("steps", values.steps, 10_000);
const seed = whole("seed", values.seed, Date.now() % 2 ** 32);
const shrinkSeconds = whole("shrink", values.shrink, 120);

/** The tests' own server, if this runs within a test. */
const given = Deno.env.get("TUNEBASE_TEST_DB_URL");
const server = given === undefined ? await startTestPostgres("chaos") : null;
if (server !== null) Deno.env.set("TUNEBASE_TEST_DB_URL", server.url);
let failed: SimulationResult | null = null;
try {
  const begin = performance.now();
  const total = { steps: 0, jobs: 0, attempts: 0, crashes: 0 };
  const kinds: Record<string, number> = {};
  const finals: Record<string, number> = {};
  console.log(`seed ${seed}, ${wanted} steps`);
  const runs = Array.from({ length: Math.ceil(wanted / stepsPerRun) }, (_, i) => ({
    seed: mix(seed, i + 1),
    count: Math.min(stepsPerRun, wanted - i * stepsPerRun),
  }));
  for await (const result of runAll(runs)) {
    if (failed !== null) break;
    total.steps += result.steps.length;
    total.jobs += result.jobs;
    total.attempts += result.attempts;
    total.crashes += result.crashes;
    for (const [kind, count] of Object.entries(result.kinds)) kinds[kind] = (kinds[kind] ?? 0) + count;
    for (const [status, count] of Object.entries(result.finals)) {
      finals[status] = (finals[status] ?? 0) + count;
    }
    if (result.problems.length > 0) failed = result;
  }
  const seconds = Math.round((performance.now() - begin) / 100) / 10;
  for (const kind of kindNames) console.log(`${String(kinds[kind] ?? 0).padStart(7)} ${kind}`);
  const ends = Object.entries(finals).map(([status, count]) => `${count} ${status}`).join(", ");
  console.log(
    `${total.steps} steps, ${total.jobs} jobs (${ends}), ${total.attempts} attempts, ${total.crashes} crashes, ${seconds} s`,
  );
  await Deno.writeTextFile(
    join(cache, "chaos.json"),
    JSON.stringify({ seed, ...total, ...counts(failed?.problems ?? []), seconds }, null, 2) + "\n",
  );
  if (failed === null) console.log("Every guarantee held.");
  else {
    console.log(`\nBROKEN with seed ${seed} at step ${total.steps}:\n${failed.problems.join("\n")}`);
    if (shrinkSeconds > 0) {
      console.log(`\nShrinking from ${failed.steps.length} …`);
      const least = await shrink(failed, shrinkSeconds);
      console.log(
        `${least.steps.length} steps reproduce it:\n${least.trace.join("\n")}\n\n${
          least.problems.join("\n")
        }`,
      );
    } else console.log(failed.trace.slice(-60).join("\n"));
  }
} finally {
  await server?.stop();
}
Deno.exit(failed === null ? 0 : 1);

/** Two runs at a time, in order: one computes while the other waits for Postgres. */
async function* runAll(runs: { seed: number; count: number }[]): AsyncGenerator<SimulationResult> {
  const threads = [1, 2].map(() => new Worker(import.meta.resolve("./run_worker.ts"), { type: "module" }));
  const started = runs.map(() => Promise.withResolvers<SimulationResult>());
  const one = async (thread: Worker) => {
    for (let i = next++; i < runs.length; i = next++) {
      const { promise, resolve, reject } = started[i] ?? Promise.withResolvers<SimulationResult>();
      thread.onmessage = ({ data }) => data.result ? resolve(data.result) : reject(new Error(data.broken));
      thread.onerror = (event) => reject(new Error(event.message));
      thread.postMessage(runs[i]);
      await promise.catch(() => {}); // the generator's consumer gets the error
    }
  };
  let next = 0;
  const all = threads.map(one);
  try {
    for (const { promise } of started) yield await promise;
  } finally {
    next = runs.length;
    await Promise.all(all);
    for (const thread of threads) thread.terminate();
  }
}

/** Counts problems by the keys of chaos.json. */
function counts(problems: string[]): Record<string, number> {
  const found: Record<string, number> = Object.fromEntries(
    [...Object.values(counters), "other"].map((key) => [key, 0]),
  );
  for (const problem of problems) {
    const key = counters[problem.split(":")[0] ?? ""] ?? "other";
    found[key] = (found[key] ?? 0) + 1;
  }
  return found;
}

function whole(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) {
    console.error(`--${name} ${text}: must be a whole number from 0 to 4294967295.`);
    Deno.exit(2);
  }
  return value;
}
