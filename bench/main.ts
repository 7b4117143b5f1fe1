/** `task bench`: how fast, as ratios taken in one run. `docs/performance.md` says what each figure is. */
import { install } from "../local/install.ts";
import { boot, bundleSize } from "./bundle.ts";
import { callbacks } from "./callbacks.ts";
import { callbacksFiveTrips } from "./callbacks_five_trips.ts";
import { cpuPerRequest } from "./cpu_per_request.ts";
import { createJobs } from "./create_jobs.ts";
import { deliveriesInTime } from "./deliveries.ts";
import { dispatchLatency } from "./dispatch_latency.ts";
import { type BenchOptions, judge, keep, line, type Measured } from "./figures.ts";
import { describeMachine } from "./machine.ts";
import { pageBytes, pageReady } from "./page.ts";
import { queueDrain } from "./queue_drain.ts";
import { readsAtScale } from "./reads_at_scale.ts";
import { sse } from "./sse.ts";
import { tenancy } from "./tenancy.ts";
import { validation } from "./validation.ts";

type Bench = (log: (line: string) => void, options: BenchOptions) => Promise<Measured[]>;

const benches: Record<string, Bench> = {
  callbacks,
  callbacks_five_trips: callbacksFiveTrips,
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

--short runs the benches that know it with as little as shows that they work; nothing is kept, and no goal counts.
Names: ${Object.keys(benches).join(", ")}; all unless some are named.
The exit status is 1 when a figure misses its goal.`;

const short = Deno.args.includes("--short");
const names = Deno.args.filter((name) => name !== "--short");
const unknown = names.find((name) => name !== "--help" && !(name in benches));
if (unknown !== undefined || names.includes("--help")) {
  console.log(unknown === undefined ? help : `Unknown bench ${unknown}.\n\n${help}`);
  Deno.exit(unknown === undefined ? 0 : 2);
}

const log = (text: string) => console.log(`  ${text}`);
await install(log);
const machine = await describeMachine();
console.log(machine);
let missed = 0;
for (const [name, bench] of Object.entries(benches)) {
  if (names.length > 0 && !names.includes(name)) continue;
  try {
    const figures = (await bench(log, { short })).map((measured) => judge(name, machine, measured));
    if (!short) await keep(name, figures);
    for (const figure of figures) console.log(line(figure));
    if (!short) missed += figures.filter(({ ok }) => !ok).length;
  } catch (error) {
    // The others are worth having all the same.
    console.error(`BROKEN ${name}:`, error);
    missed += 1;
  }
}
if (missed > 0) console.log(`${missed} missed`);
Deno.exit(missed === 0 ? 0 : 1);
