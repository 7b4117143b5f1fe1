/** `task bench`: how fast, as ratios taken in one run. `docs/performance.md` says what each figure is. */
import { install } from "../local/commands/install.ts";
import { boot, bundleSize } from "./bundle.ts";
import { callbacks } from "./callbacks.ts";
import { callbacksVsMultiStatement } from "./callbacks_vs_multi_statement.ts";
import { cpuPerRequest } from "./cpu_per_request.ts";
import { createJobs } from "./create_jobs.ts";
import { deliveriesInTime } from "./deliveries.ts";
import { dispatchLatency } from "./dispatch_latency.ts";
import { type Bench, judge, keep, line } from "./results.ts";
import { describeMachine } from "./machine.ts";
import { pageBytes, pageReady } from "./dashboard_load.ts";
import { queueDrain } from "./queue_drain.ts";
import { readsAtScale } from "./reads_at_scale.ts";
import { sse } from "./sse.ts";
import { closeSharedStand, shareStand } from "./harness.ts";
import { tenancy } from "./tenancy.ts";
import { validation } from "./validation.ts";

const benches: Record<string, Bench> = {
  callbacks,
  callbacks_vs_multi_statement: callbacksVsMultiStatement,
  dispatch_latency: dispatchLatency,
  queue_drain: queueDrain,
  deliveries: deliveriesInTime,
  create_jobs: createJobs,
  cpu_per_request: cpuPerRequest,
  reads_at_scale: readsAtScale,
  sse,
  tenancy,
  validation,
  boot,
  bundle: bundleSize,
  page_bytes: pageBytes,
  page_ready: pageReady,
};

const help =
  `Measures speed, and writes .tunebase/bench.json. Wants the machine to itself; reads_at_scale fills a database first.

  npx -y deno@2.9.6 task bench [--short] [NAME…]

Names: ${Object.keys(benches).join(", ")}; all unless some are named.
The exit status is 1 when a figure misses its goal.

  --short  Only shows that each bench runs and returns its figures, in seconds: nothing is judged, nothing is written.`;

const short = Deno.args.includes("--short");
const named = Deno.args.filter((arg) => arg !== "--short");
const unknown = named.find((name) => name !== "--help" && !(name in benches));
if (unknown !== undefined || Deno.args.includes("--help")) {
  console.log(unknown === undefined ? help : `Unknown bench ${unknown}.\n\n${help}`);
  Deno.exit(unknown === undefined ? 0 : 2);
}

const log = (text: string) => console.log(`  ${text}`);
await install(log);
const machine = await describeMachine();
console.log(machine);
if (short) shareStand();
let missed = 0;
for (const [name, bench] of Object.entries(benches)) {
  if (named.length > 0 && !named.includes(name)) continue;
  const begin = performance.now();
  try {
    const measured = await bench(log, short ? "short" : "full");
    if (measured.length === 0) throw new Error("it returned no figure");
    const figures = measured.map((one) => judge(name, machine, one));
    if (short) {
      const broken = figures.find(({ value, ratio }) => !Number.isFinite(value) || !Number.isFinite(ratio));
      if (broken !== undefined) throw new Error(`a figure is not a number: ${JSON.stringify(broken)}`);
      const seconds = ((performance.now() - begin) / 1000).toFixed(1);
      console.log(`ran    ${name}: ${figures.length} figures (${seconds} s)`);
      continue;
    }
    await keep(name, figures);
    for (const figure of figures) console.log(line(figure));
    missed += figures.filter(({ ok }) => !ok).length;
  } catch (error) {
    // The others are worth having all the same.
    console.error(`BROKEN ${name}:`, error);
    missed += 1;
  }
}
await closeSharedStand();
if (missed > 0) console.log(`${missed} missed`);
Deno.exit(missed === 0 ? 0 : 1);
