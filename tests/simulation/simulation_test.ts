/** Short walks of `task chaos`; the long ones, and making a failure small, are its own. */
import { assertEquals } from "#assert";
import { walk } from "./run.ts";

const fresh = Date.now() % 2 ** 32;
for (const [name, seed] of [["a fixed seed", 20261124], [`the fresh seed ${fresh}`, fresh]] as const) {
  Deno.test(`every promise is kept after every step of a random walk with ${name}`, async () => {
    const { problems, story } = await walk({ seed, count: 120 });
    assertEquals(problems, [], `walk({ seed: ${seed}, count: 120 }):\n${story.slice(-60).join("\n")}`);
  });
}
