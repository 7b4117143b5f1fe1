/**
 * Every bench runs in its short form, `task bench --short`, and returns measurements. No test checks performance. One
 * process and one run, because benches share a stack and a state directory.
 */
import { assert, assertEquals } from "#assert";
import * as z from "zod";
import { root } from "../../local/state_dir.ts";

/** In tests/e2e/, with the engine that it needs. */
const checkedElsewhere = "adapter_cold";

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

const Measurement = z.object({ name: z.string(), value: z.number(), unit: z.string(), ratio: z.number() });

Deno.test("every bench runs with --short and returns its measurements", async (t) => {
  const help = (await bench(["--help"])).output;
  const names = /^Names: (.*); all/m.exec(help)?.[1]?.split(", ").filter((name) => name !== checkedElsewhere);
  assert(names !== undefined && names.length > 15, help);
  const { code, output } = await bench(["--short", ...names]);
  const ran = [...output.matchAll(/^ran {4}(\w+): [1-9]\d* measurements/gm)].map(([, name]) => name);
  assertEquals([code, ran.toSorted()], [0, names.toSorted()], output);
  const measurements = [...output.matchAll(/^\{.*\}$/gm)].map(([line]) =>
    Measurement.parse(JSON.parse(line))
  );

  await t.step("cpu_per_request measures routes, callbacks and ticks, each with p50 and p99", () => {
    const measured = measurements.filter(({ name }) => name === "cpu_per_request");
    const kinds = [
      "POST /fine_tuning/jobs",
      "POST …/report",
      "a tick that reconciles",
      "jobs due",
      "deliveries due",
    ];
    for (const kind of [...kinds, "a tick of checking a file"]) {
      const found = measured.find(({ unit }) => unit.includes(kind));
      assert(found !== undefined && found.value > 0, `${kind}\n${output}`);
    }
    const printed = [...output.matchAll(/ p50 +[\d.]+ {2}p99 +[\d.]+ ms of CPU$/gm)];
    assertEquals(printed.length, measured.length);
  });

  await t.step(
    "queue_drain completes under platform limits without lost, duplicate or ambiguous jobs",
    () => {
      const left = measurements.find(({ name }) => name === "queue_drain");
      assertEquals([left?.value, left?.ratio], [0, 1], output);
    },
  );
});
