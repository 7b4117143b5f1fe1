/** The benches that know a short form run: what they measure in it says nothing, but they find what they look for. */
import { assert, assertEquals } from "#assert";
import { cpuPerRequest } from "../../bench/cpu_per_request.ts";
import type { Measured } from "../../bench/results.ts";
import { queueDrain } from "../../bench/queue_drain.ts";

/** What a bench printed stands in the failure. */
async function run(bench: (log: (line: string) => void, size: "short") => Promise<Measured[]>) {
  const lines: string[] = [];
  const figures = await bench((line) => lines.push(line), "short");
  return { figures, said: lines.join("\n") };
}

Deno.test("cpu_per_request measures routes, callbacks and ticks, each with p50 and p99", async () => {
  const { figures, said } = await run(cpuPerRequest);
  const kinds = [
    "POST /fine_tuning/jobs",
    "POST …/report",
    "a tick that looks",
    "jobs due",
    "deliveries due",
  ];
  for (const kind of [...kinds, "a tick of checking a file"]) {
    const found = figures.find(({ unit }) => unit.includes(kind));
    assert(found !== undefined && found.value > 0, `${kind}\n${said}`);
  }
  assertEquals(said.split("\n").length, figures.length);
});

Deno.test("queue_drain completes under platform limits without lost, duplicate or ambiguous jobs", async () => {
  const { figures: [left], said } = await run(queueDrain);
  assertEquals([left?.value, left?.ratio], [0, 1], said);
});
