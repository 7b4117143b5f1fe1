/**
 * `task chaos`: a random walk over what clients, workers, RunPod, the clock and crashes can do to Tunebase, with a check of
 * every promise after every step (check.sql, observe.ts, judge.ts). A long walk is made of short ones, each on a database
 * of its own and healed at its end, so that a failure can be walked again and made small.
 */
import { parseArgs } from "node:util";
import { cache } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import { startTestServer } from "../support/postgres_server.ts";
import { mix } from "./random.ts";
import { shrink } from "./shrink.ts";
import { kindNames } from "./commands.ts";
import type { Walk } from "./run.ts";

const help = `Usage: deno task chaos [--steps N] [--seed N] [--shrink SECONDS] [--help]

Walks at random through what can go wrong, and checks every promise after every step.

  --steps N         how many steps in all (default 10000)
  --seed N          walks the same way again (default: the clock)
  --shrink SECONDS  how long to make a failure smaller (default 120; 0: not at all)

Writes .tunebase/chaos.json. Exit status 1 when a promise was broken.`;

/** Steps of one walk: as many as some thirty jobs need for their lives. */
const perWalk = 500;

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

const server = await startTestServer("chaos");
Deno.env.set("TUNEBASE_TEST_DB_URL", server.url);
let failed: Walk | null = null;
try {
  const begin = performance.now();
  const total = { steps: 0, jobs: 0, attempts: 0, crashes: 0 };
  const kinds: Record<string, number> = {};
  const finals: Record<string, number> = {};
  console.log(`seed ${seed}, ${wanted} steps`);
  const walks = Array.from({ length: Math.ceil(wanted / perWalk) }, (_, i) => ({
    seed: mix(seed, i + 1),
    count: Math.min(perWalk, wanted - i * perWalk),
  }));
  for await (const walked of walkAll(walks)) {
    if (failed !== null) break;
    total.steps += walked.steps.length;
    total.jobs += walked.jobs;
    total.attempts += walked.attempts;
    total.crashes += walked.crashes;
    for (const [kind, count] of Object.entries(walked.kinds)) kinds[kind] = (kinds[kind] ?? 0) + count;
    for (const [status, count] of Object.entries(walked.finals)) {
      finals[status] = (finals[status] ?? 0) + count;
    }
    if (walked.problems.length > 0) failed = walked;
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
  if (failed === null) console.log("Every promise was kept.");
  else {
    console.log(`\nBROKEN with seed ${seed} at step ${total.steps}:\n${failed.problems.join("\n")}`);
    if (shrinkSeconds > 0) {
      console.log(`\nLooking for fewer steps than ${failed.steps.length} …`);
      const least = await shrink(failed, shrinkSeconds);
      console.log(
        `${least.steps.length} steps are enough:\n${least.story.join("\n")}\n\n${least.problems.join("\n")}`,
      );
    } else console.log(failed.story.slice(-60).join("\n"));
  }
} finally {
  await server.stop();
}
Deno.exit(failed === null ? 0 : 1);

/** Two walks at a time, in the order in which they are given: one waits for Postgres while the other works. */
async function* walkAll(walks: { seed: number; count: number }[]): AsyncGenerator<Walk> {
  const threads = [1, 2].map(() => new Worker(import.meta.resolve("./run_worker.ts"), { type: "module" }));
  const started = walks.map(() => Promise.withResolvers<Walk>());
  const one = async (thread: Worker) => {
    for (let i = next++; i < walks.length; i = next++) {
      const { promise, resolve, reject } = started[i] ?? Promise.withResolvers<Walk>();
      thread.onmessage = ({ data }) => data.walked ? resolve(data.walked) : reject(new Error(data.broken));
      thread.onerror = (event) => reject(new Error(event.message));
      thread.postMessage(walks[i]);
      await promise.catch(() => {}); // whoever reads it will see
    }
  };
  let next = 0;
  const all = threads.map(one);
  try {
    for (const { promise } of started) yield await promise;
  } finally {
    next = walks.length;
    await Promise.all(all);
    for (const thread of threads) thread.terminate();
  }
}

/** The problems by the names under which they are reported; what has no name of its own counts as wrong. */
function counts(problems: string[]): Record<string, number> {
  const found = {
    lost: 0,
    doubled: 0,
    wrong_terminal: 0,
    event_gaps: 0,
    notifications_owed_lost: 0,
    other: 0,
  };
  for (const problem of problems) {
    const kind = problem.split(":")[0] ?? "";
    const name = kind === "event_gap" ? "event_gaps" : kind === "metric_twice" ? "doubled" : kind;
    if (name in found) found[name as keyof typeof found]++;
    else found.other++;
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
