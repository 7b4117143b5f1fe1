/**
 * Dying between any two effects. For each scenario the effects are recorded once and compared with the list in
 * `crash_points.ts`; then it is run again and again, and the function kills itself after the first effect, after the
 * second … (reads apart, which leave the world as it was). Its client, the worker or the timer goes on as the real ones
 * do, and all must end as it would have. Before the first effect nothing has happened, whatever was asked, and a nudge
 * changes nothing that a client sees: each function dies there in one scenario.
 */
import { assert, assertEquals } from "#assert";
import { assertInvariants, assertSentOnce } from "./invariants.ts";
import { Lane } from "./harness.ts";
import { everyTick, places, readers, reads, repeated, wakes } from "./crash_points.ts";
import { Spares } from "./crashing_process.ts";
import type { Scenario } from "./scenario.ts";
import { scenarios } from "./scenarios.ts";
import type { FunctionName, Place } from "./serve.ts";
import { cache } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import { pause } from "../../local/stack/processes.ts";

/** So many places are tried at once, each in a database of its own. */
const lanes = await Promise.all(Array.from({ length: 3 }, () => Lane.start()));
const spares = new Spares(lanes.length);
Deno.test.afterAll(async () => {
  await Promise.all([...lanes.map((lane) => lane.close()), spares.close()]);
});

const inList = "tests/crash/crash_points.ts";

/**
 * Runs a scenario, in the lane of this number, whose function dies at `die`, or lives. Returns what came of it, and the
 * effects.
 */
async function run(
  number: number,
  { of, run }: Scenario,
  die: Place | null,
): Promise<{ result: unknown; effects: string[] }> {
  const doomed = spares.take(of);
  const lane = lanes[number];
  assert(lane !== undefined);
  try {
    const result = await run(lane, () => lane.arm(of, doomed, die));
    if (die === null) {
      await doomed.stop();
      spares.giveBack(doomed);
    } else {
      const status = await Promise.race([doomed.ended, pause(20_000)]);
      assertEquals(status?.signal, "SIGKILL", "the place was never reached");
    }
    await assertInvariants(lane.tunebase.sql);
    await assertSentOnce(lane.tunebase.sql, lane.runs);
    return { result, effects: doomed.effects };
  } catch (error) {
    // What went wrong here is not to be found again by the next.
    doomed.kill();
    lanes[number] = await Lane.start();
    await lane.close();
    throw error;
  }
}

/** What a scenario did, without what every tick asks in vain. */
function relevant(effects: string[], listed: string[]): string[] {
  return effects.filter((effect, i) =>
    (!everyTick.has(effect) || listed.includes(effect)) &&
    !(repeated.has(effect) && effects.indexOf(effect) < i)
  );
}

/** The first scenario of this function with this effect, or with any. */
function firstWith(of: FunctionName, effect?: string): string | undefined {
  for (const [name, scenario] of scenarios) {
    if (scenario.of === of && (effect === undefined || places[name]?.includes(effect))) return name;
  }
}

/** After each effect that changes something; what is the same in all scenarios of a function, in its first. */
function placesOf(name: string): Place[] {
  const effects = places[name] ?? [];
  const of = scenarios.get(name)?.of;
  assert(of !== undefined, `there is no scenario “${name}”`);
  const all = effects.map((effect, i): Place => ({
    when: "after",
    effect,
    nth: effects.slice(0, i + 1).filter((other) => other === effect).length,
  }));
  return [
    ...(firstWith(of) === name ? all.slice(0, 1) : []).map((place): Place => ({ ...place, when: "before" })),
    ...all.filter(({ effect }) =>
      !reads.has(effect) && (!wakes.has(effect) || firstWith(of, effect) === name)
    ),
  ];
}

let died = 0;
const began = performance.now();
for (const [name, scenario] of scenarios) {
  Deno.test(`dying anywhere while ${name} changes nothing in the end`, async () => {
    const listed = places[name] ?? [];
    const { result: expected, effects } = await run(0, scenario, null);
    assertEquals(
      relevant(effects, listed),
      listed,
      `“${name}” does ${JSON.stringify(relevant(effects, listed))}, and ${inList} says ${
        JSON.stringify(listed)
      }. ` +
        "Put there what is new, and think of what happens when the function dies after it.",
    );
    const left = placesOf(name);
    const failures: string[] = [];
    await Promise.all(lanes.map(async (_, number) => {
      for (let place = left.shift(); place !== undefined; place = left.shift()) {
        died += 1;
        try {
          const { result } = await run(number, scenario, place);
          assertEquals(result, expected);
        } catch (error) {
          failures.push(`dying ${place.when} ${place.effect} (${place.nth}): ${error}`);
        }
      }
    }));
    assertEquals(failures, []);
  });
}

Deno.test("every SQL function that an edge function may call is among the places, or only reads", async () => {
  const [lane] = lanes;
  assert(lane !== undefined);
  const rows = await lane.tunebase.sql<{ name: string }[]>`
    select distinct p.proname as name
    from pg_proc p, unnest(array['tunebase_api', 'tunebase_callback', 'tunebase_scheduler']) role
    where p.pronamespace = 'tunebase_internal'::regnamespace and has_function_privilege(role, p.oid, 'execute')`;
  assert(rows.length > 80, `found ${rows.length} functions`);
  const listed = new Set(Object.values(places).flat());
  for (const { name } of rows) {
    assert(
      readers.has(name) || listed.has(`sql ${name}`),
      `tunebase_internal.${name} is in no scenario of tests/crash/scenarios.ts. Add one that calls it, and its effects to ` +
        `${inList}; or, if it only reads, name it in \`readers\` there.`,
    );
  }
});

Deno.test("every place of the list was died at", async () => {
  assertEquals(Object.keys(places).sort(), [...scenarios.keys()].sort());
  const listed = Object.keys(places).reduce((sum, name) => sum + placesOf(name).length, 0);
  assertEquals(died, listed);
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  await Deno.writeTextFile(
    join(cache, "crash.json"),
    JSON.stringify({ scenarios: scenarios.size, places: died, seconds }) + "\n",
  );
});
