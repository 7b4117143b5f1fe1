/** Each bench runs in its short form, `task bench --short`, and returns measurements. No test checks performance. */
import { assertEquals } from "#assert";
import { root } from "../../local/state_dir.ts";

/** tests/bench/bench_limits_test.ts runs these and checks their measurements. */
const checkedElsewhere = new Set(["cpu_per_request", "queue_drain"]);

async function bench(args: string[]): Promise<{ code: number; output: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "bench/main.ts", ...args],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "null",
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
