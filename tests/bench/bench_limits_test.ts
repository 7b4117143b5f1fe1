/** Benches in their short form: the values are meaningless, but every expected measurement exists. */
import { assert, assertEquals } from "#assert";
import { cpuPerRequest } from "../../bench/cpu_per_request.ts";
import type { RawMeasurement } from "../../bench/results.ts";
import { queueDrain } from "../../bench/queue_drain.ts";

/** A failure shows what the bench printed. */
async function run(bench: (log: (line: string) => void, size: "short") => Promise<RawMeasurement[]>) {
  const lines: string[] = [];
  const measurements = await bench((line) => lines.push(line), "short");
  return { measurements, printed: lines.join("\n") };
}

Deno.test("cpu_per_request measures routes, callbacks and ticks, each with p50 and p99", async () => {
  const { measurements, printed } = await run(cpuPerRequest);
  const kinds = [
    "POST /fine_tuning/jobs",
    "POST …/report",
    "a tick that looks",
    "jobs due",
    "deliveries due",
  ];
  for (const kind of [...kinds, "a tick of checking a file"]) {
    const found = measurements.find(({ unit }) => unit.includes(kind));
    assert(found !== undefined && found.value > 0, `${kind}\n${printed}`);
  }
  assertEquals(printed.split("\n").length, measurements.length);
});

Deno.test("queue_drain completes under platform limits without lost, duplicate or ambiguous jobs", async () => {
  const { measurements: [left], printed } = await run(queueDrain);
  assertEquals([left?.value, left?.ratio], [0, 1], printed);
});
