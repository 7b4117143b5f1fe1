/**
 * Every bench runs in its short form, `task bench --short`, and returns measurements. No test checks performance. One
 * file, because benches share a state directory.
 */
import { assert, assertEquals } from "#assert";
import { root } from "../../local/state_dir.ts";
import { cpuPerRequest } from "../../bench/cpu_per_request.ts";
import type { RawMeasurement } from "../../bench/results.ts";
import { queueDrain } from "../../bench/queue_drain.ts";

/** Their measurements are checked below; of adapter_cold in tests/e2e/, with the engine that it needs. */
const checkedElsewhere = new Set(["adapter_cold", "cpu_per_request", "queue_drain"]);

async function bench(args: string[]): Promise<{ code: number; output: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "bench/main.ts", ...args],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "null",
    // A bench that waits forever must fail here, not end the whole run.
    signal: AbortSignal.timeout(300_000),
  }).output();
  const text = new TextDecoder();
  return { code, output: text.decode(stdout) + text.decode(stderr) };
}

Deno.test("every bench runs with --short and returns its measurements", async () => {
  const help = (await bench(["--help"])).output;
  const names =
    /^Names: (.*); all/m.exec(help)?.[1]?.split(", ").filter((name) => !checkedElsewhere.has(name)) ?? [];
  const { code, output } = await bench(["--short", ...names]);
  const ran = [...output.matchAll(/^ran {4}(\w+): [1-9]\d* measurements/gm)].map(([, name]) => name);
  assertEquals([code, ran.toSorted()], [0, names.toSorted()], output);
});

/** A failure shows what the bench printed. */
async function measure(bench: (log: (line: string) => void, size: "short") => Promise<RawMeasurement[]>) {
  const lines: string[] = [];
  const measurements = await bench((line) => lines.push(line), "short");
  return { measurements, printed: lines.join("\n") };
}

Deno.test("cpu_per_request measures routes, callbacks and ticks, each with p50 and p99", async () => {
  const { measurements, printed } = await measure(cpuPerRequest);
  const kinds = [
    "POST /fine_tuning/jobs",
    "POST …/report",
    "a tick that reconciles",
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
  const { measurements: [left], printed } = await measure(queueDrain);
  assertEquals([left?.value, left?.ratio], [0, 1], printed);
});
