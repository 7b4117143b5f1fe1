/**
 * Crashes between any two effects. A first run of each scenario records its effects and compares them with
 * `crash_points.ts`. The scenario then runs once per crash point: the function's instance dies after that effect, and the
 * client, the worker and the timer react as the real ones do. The result must equal that of the undisturbed run. Effects
 * that only read are skipped. A crash before the first effect, and one after a wake-up, are tried once per function.
 */
import { assert, assertEquals } from "#assert";
import { assertInvariants, assertSentOnce } from "./invariants.ts";
import { CrashHarness } from "./harness.ts";
import {
  crashPoints,
  pollingEffects,
  readEffects,
  readOnlyFunctions,
  repeatedEffects,
  wakeEffects,
} from "./crash_points.ts";
import type { Scenario } from "./scenario.ts";
import { scenarios } from "./scenarios.ts";
import type { CrashPoint, FunctionName } from "./serve.ts";
import { cache } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";

/** Crash points are tried in parallel, each harness with its own database. */
const harnesses = await Promise.all(Array.from({ length: 3 }, () => CrashHarness.start()));
Deno.test.afterAll(async () => {
  await Promise.all(harnesses.map((harness) => harness.close()));
});

const inList = "tests/crash/crash_points.ts";

/** Runs a scenario in a harness; the function crashes at `crashAt`, or not at all (null). Returns the result and the effects. */
async function run(
  number: number,
  { of, run }: Scenario,
  crashAt: CrashPoint | null,
): Promise<{ result: unknown; effects: string[] }> {
  const harness = harnesses[number];
  assert(harness !== undefined);
  try {
    const result = await run(harness, () => harness.arm(of, crashAt));
    const { crashed, effects } = await harness.instances.end();
    assertEquals(crashed, crashAt !== null, "the crash point was never reached");
    await assertInvariants(harness.tunebase.sql);
    await assertSentOnce(harness.tunebase.sql, harness.runs);
    return { result, effects };
  } catch (error) {
    // The next scenario starts with a clean harness.
    harnesses[number] = await CrashHarness.start();
    await harness.close();
    throw error;
  }
}

/** The effects of a scenario without the polling queries that it does not list. */
function relevant(effects: string[], listed: string[]): string[] {
  return effects.filter((effect, i) =>
    (!pollingEffects.has(effect) || listed.includes(effect)) &&
    !(repeatedEffects.has(effect) && effects.indexOf(effect) < i)
  );
}

/** The first scenario of this function with this effect, or with any. */
function firstWith(of: FunctionName, effect?: string): string | undefined {
  for (const [name, scenario] of scenarios) {
    if (scenario.of === of && (effect === undefined || crashPoints[name]?.includes(effect))) return name;
  }
}

/** The crash points of a scenario: after each effect with a consequence. Those shared by all scenarios of a function are tried in its first. */
function crashPointsOf(name: string): CrashPoint[] {
  const effects = crashPoints[name] ?? [];
  const of = scenarios.get(name)?.of;
  assert(of !== undefined, `there is no scenario “${name}”`);
  const all = effects.map((effect, i): CrashPoint => ({
    when: "after",
    effect,
    nth: effects.slice(0, i + 1).filter((other) => other === effect).length,
  }));
  return [
    ...(firstWith(of) === name ? all.slice(0, 1) : []).map((point): CrashPoint => ({
      ...point,
      when: "before",
    })),
    ...all.filter(({ effect }) =>
      !readEffects.has(effect) && (!wakeEffects.has(effect) || firstWith(of, effect) === name)
    ),
  ];
}

let crashes = 0;
const began = performance.now();
for (const [name, scenario] of scenarios) {
  // @proves accepted-job-ends: a crash at any point while a job is created does not change the outcome
  // @proves accepted-job-ends, report-crash-on-submit: a crash at any point while a job is dispatched and RunPod accepts it does not change the outcome
  // @proves one-create: a crash at any point while a job is created with an idempotency key does not change the outcome
  // @proves at-least-once: a crash at any point while a webhook is delivered does not change the outcome
  // @proves spend-cap: a crash at any point while a job exceeds its spend cap does not change the outcome
  // @proves next-check: a crash at any point while a run's worker was lost does not change the outcome
  // @proves gapless-events: a crash at any point while a worker reports, with a checkpoint does not change the outcome
  // @proves succeeded-iff-stored: a crash at any point while a file is verified does not change the outcome
  // @proves stuck-in-queue: a crash at any point while a run stays queued past its deadline does not change the outcome
  Deno.test(`a crash at any point while ${name} does not change the outcome`, async () => {
    const listed = crashPoints[name] ?? [];
    const { result: expected, effects } = await run(0, scenario, null);
    assertEquals(
      relevant(effects, listed),
      listed,
      `“${name}” does ${JSON.stringify(relevant(effects, listed))}, and ${inList} says ${
        JSON.stringify(listed)
      }. ` +
        "Add new effects there, and consider what happens if the function crashes after them.",
    );
    const left = crashPointsOf(name);
    const failures: string[] = [];
    await Promise.all(harnesses.map(async (_, number) => {
      for (let point = left.shift(); point !== undefined; point = left.shift()) {
        crashes += 1;
        try {
          const { result } = await run(number, scenario, point);
          assertEquals(result, expected);
        } catch (error) {
          failures.push(`crash ${point.when} ${point.effect} (${point.nth}): ${error}`);
        }
      }
    }));
    assertEquals(failures, []);
  });
}

Deno.test("every SQL function that an edge function can call has a crash point or only reads", async () => {
  const [harness] = harnesses;
  assert(harness !== undefined);
  const rows = await harness.tunebase.sql<{ name: string }[]>`
    select distinct p.proname as name
    from pg_proc p, unnest(array['tunebase_api', 'tunebase_callback', 'tunebase_scheduler']) role
    where p.pronamespace = 'tunebase_internal'::regnamespace and has_function_privilege(role, p.oid, 'execute')`;
  assert(rows.length > 80, `found ${rows.length} functions`);
  const listed = new Set(Object.values(crashPoints).flat());
  for (const { name } of rows) {
    assert(
      readOnlyFunctions.has(name) || listed.has(`sql ${name}`),
      `tunebase_internal.${name} is in no scenario of tests/crash/scenarios.ts. Add one that calls it, and its effects to ` +
        `${inList}; or, if it only reads, name it in \`readOnlyFunctions\` there.`,
    );
  }
});

Deno.test("every listed crash point was reached", async () => {
  assertEquals(Object.keys(crashPoints).sort(), [...scenarios.keys()].sort());
  const listed = Object.keys(crashPoints).reduce((sum, name) => sum + crashPointsOf(name).length, 0);
  assertEquals(crashes, listed);
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  await Deno.writeTextFile(
    join(cache, "crash.json"),
    JSON.stringify({ scenarios: scenarios.size, crash_points: crashes, seconds }) + "\n",
  );
});
