/** `task bench`: performance as ratios measured in one run. `docs/performance.md` explains each measurement. */
import { install } from "../local/commands/install.ts";
import { adapterCold } from "./adapter_cold.ts";
import { boot, bundleSize } from "./bundle.ts";
import { callbacks } from "./callbacks.ts";
import { callbacksVsMultiStatement } from "./callbacks_vs_multi_statement.ts";
import { chatOverhead, chatStreams } from "./chat.ts";
import { cpuPerRequest } from "./cpu_per_request.ts";
import { createJobs } from "./create_jobs.ts";
import { deliveriesInTime } from "./deliveries.ts";
import { dispatchLatency } from "./dispatch_latency.ts";
import { type Bench, evaluate, line, save } from "./results.ts";
import { describeMachine } from "./machine.ts";
import { pageBytes, pageReady } from "./dashboard_load.ts";
import { queueDrain } from "./queue_drain.ts";
import { readsAtScale } from "./reads_at_scale.ts";
import { sse } from "./sse.ts";
import { closeSharedBenchStack, shareBenchStack } from "./harness.ts";
import { tenancy } from "./tenancy.ts";
import { validation } from "./validation.ts";

const benches: Record<string, Bench> = {
  // First: the stack it needs is not shared.
  queue_drain: queueDrain,
  callbacks,
  callbacks_vs_multi_statement: callbacksVsMultiStatement,
  dispatch_latency: dispatchLatency,
  deliveries: deliveriesInTime,
  create_jobs: createJobs,
  cpu_per_request: cpuPerRequest,
  chat_overhead: chatOverhead,
  chat_streams: chatStreams,
  reads_at_scale: readsAtScale,
  sse,
  tenancy,
  validation,
  boot,
  bundle: bundleSize,
  adapter_cold: adapterCold,
  page_bytes: pageBytes,
  page_ready: pageReady,
};

const help =
  `Measures performance and writes .tunebase/bench.json. Needs an idle machine; reads_at_scale fills a database first.

  npx -y deno@2.9.6 task bench [--short] [NAME…]

Names: ${Object.keys(benches).join(", ")}; all by default.
The exit status is 1 if a measurement misses its goal.

  --short  Only shows that each bench runs and returns its measurements, in seconds: nothing is evaluated, nothing is written.`;

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
if (short) shareBenchStack();
let missed = 0;
for (const [name, bench] of Object.entries(benches)) {
  if (named.length > 0 && !named.includes(name)) continue;
  const begin = performance.now();
  try {
    const measured = await bench(log, short ? "short" : "full");
    if (measured.length === 0) throw new Error("it returned no measurement");
    const measurements = measured.map((one) => evaluate(name, machine, one));
    if (short) {
      const broken = measurements.find(({ value, ratio }) =>
        !Number.isFinite(value) || !Number.isFinite(ratio)
      );
      if (broken !== undefined) throw new Error(`a measurement is not a number: ${JSON.stringify(broken)}`);
      const seconds = ((performance.now() - begin) / 1000).toFixed(1);
      console.log(`ran    ${name}: ${measurements.length} measurements (${seconds} s)`);
      for (const measurement of measurements) console.log(JSON.stringify(measurement));
      continue;
    }
    await save(name, measurements);
    for (const measurement of measurements) console.log(line(measurement));
    missed += measurements.filter(({ ok }) => !ok).length;
  } catch (error) {
    // Continue with the other benches.
    console.error(`BROKEN ${name}:`, error);
    missed += 1;
  }
}
await closeSharedBenchStack();
if (missed > 0) console.log(`${missed} missed`);
Deno.exit(missed === 0 ? 0 : 1);
