/** The tables of `docs/reliability.md` come from `@proves` comments above tests. */
import { assert } from "#assert";
import { proofs } from "../../local/generate/reliability.ts";
import { crashPoints } from "../crash/crash_points.ts";

Deno.test("every claim of docs/reliability.md has a test, and every @proves comment names a claim", async () => {
  const found = [...(await proofs()).values()].flat();
  assert(found.length > 80, `only ${found.length} tests are named`);
  for (const { path, test } of found) {
    if (path !== "tests/crash/crash_test.ts") continue;
    const scenario = /^a crash at any point while (.+) does not change the outcome$/.exec(test)?.[1] ?? "";
    assert(scenario in crashPoints, `there is no crash scenario “${scenario}”`);
  }
});
