/** Short runs of `task chaos`, which itself runs longer and shrinks failures. */
import { assertEquals, assertStringIncludes } from "#assert";
import { fromFileUrl } from "../../local/paths.ts";
import { runSimulation } from "./run.ts";

// @proves accepted-job-ends
Deno.test("task chaos runs random commands with a fixed seed, and every promise holds after each of them", async () => {
  const main = fromFileUrl(new URL("./main.ts", import.meta.url));
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", main, "--steps", "120", "--seed", "20261124", "--shrink", "0"],
  }).output();
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assertEquals(code, 0, output);
  assertStringIncludes(output, "120 steps");
  assertStringIncludes(output, "Every guarantee held.");
});

const fresh = Date.now() % 2 ** 32;
Deno.test(`every promise holds after each command of a random run with the fresh seed ${fresh}`, async () => {
  const { problems, trace } = await runSimulation({ seed: fresh, count: 120 });
  assertEquals(
    problems,
    [],
    `runSimulation({ seed: ${fresh}, count: 120 }):\n${trace.slice(-60).join("\n")}`,
  );
});
