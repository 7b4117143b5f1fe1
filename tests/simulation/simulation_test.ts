/** Short runs of `task chaos`, which itself runs longer and shrinks failures. */
import { assertEquals } from "#assert";
import { runSimulation } from "./run.ts";

const fresh = Date.now() % 2 ** 32;
for (const [name, seed] of [["a fixed seed", 20261124], [`the fresh seed ${fresh}`, fresh]] as const) {
  // @proves accepted-job-ends: every promise holds after each command of a random run with a fixed seed
  Deno.test(`every promise holds after each command of a random run with ${name}`, async () => {
    const { problems, trace } = await runSimulation({ seed, count: 120 });
    assertEquals(
      problems,
      [],
      `runSimulation({ seed: ${seed}, count: 120 }):\n${trace.slice(-60).join("\n")}`,
    );
  });
}
