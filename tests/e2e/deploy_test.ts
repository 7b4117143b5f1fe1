/** From two empty (emulated) accounts to a fine-tune that answers by its name, with one command. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "#assert";
import { Command } from "commander";
import { addDeploy } from "../../deploy/commands.ts";
import { addDoctor } from "../../deploy/doctor/command.ts";
import { type Platforms, startPlatforms } from "../../local/emulators/platforms.ts";
import { join } from "../../local/paths.ts";
import { captureOutput } from "../support/captured_output.ts";

const home = await Deno.makeTempDir({ prefix: "tunebase accounts " });
Deno.env.set("TUNEBASE_HOME", home);
const platforms: Platforms = await startPlatforms({
  home: join(home, "platforms"),
  log: () => {},
  // As in training_stack.ts.
  workerEnv: { TUNEBASE_SAMPLE_COUNT: "1", TUNEBASE_EVALUATION_SECONDS: "3", OMP_NUM_THREADS: "1" },
});
Deno.test.afterAll(async () => {
  await platforms.stop();
  Deno.env.delete("TUNEBASE_HOME");
  await Deno.remove(home, { recursive: true });
});

/** Runs a command line; returns what it printed. */
async function run(...args: string[]): Promise<{ out: string; err: string }> {
  const program = new Command("tunebase").exitOverride();
  // The accounts outlive the command.
  const startEmulators = () => Promise.resolve({ ...platforms, stop: () => Promise.resolve() });
  addDeploy(program, startEmulators);
  addDoctor(program, startEmulators);
  return await captureOutput(() => program.parseAsync([...args, "--target", "emulators"], { from: "user" }));
}

Deno.test("one command deploys, fine-tunes and calls the result; doctor agrees; destroy removes it", async () => {
  const first = await run("deploy", "--yes");
  assertStringIncludes(first.out, "  create  endpoint tunebase-trainer");
  assertStringIncludes(first.out, " per month  network volume");
  assertMatch(
    first.out,
    /ft:SmolLM2-135M-Instruct:\S+:smoke:\S+ was trained in \d+ s. Called by name:\n.+\n {2}\S+/,
  );
  assertMatch(first.err, /it costs up to \$0\.\d\d/);

  assertStringIncludes((await run("deploy")).out, "No changes: the installation is up to date.");

  const report = JSON.parse((await run("deploy", "--json", "--yes", "--no-smoke", "--max-workers", "2")).out);
  assertEquals(report.changes.map(({ step }: { step: string }) => step), ["runpod-trainer"]);
  assert(report.checks.length > 15 && report.costs.lines.length > 1);

  const checks: { id: string; status: string; found: string }[] =
    JSON.parse((await run("doctor", "--json")).out).checks;
  assertEquals(checks.filter(({ status }) => status === "error"), []);
  assert(checks.length > 15, `${checks.length} checks`);

  // Not compared with each other: Tunebase counts the price of the most expensive pool.
  const bill: { lines: { kind: string; runpodUsd: number; tunebaseUsd: number }[] } = JSON.parse(
    (await run("doctor", "--bills", "--days", "2", "--json")).out,
  );
  const training = bill.lines.filter(({ kind }) => kind === "training");
  const total = (field: "runpodUsd" | "tunebaseUsd") => training.reduce((sum, line) => sum + line[field], 0);
  assert(total("tunebaseUsd") > 0, JSON.stringify(bill));
  assert(total("runpodUsd") > 0, JSON.stringify(bill));

  const removed = await run("destroy", "--delete-data", "--yes");
  assertStringIncludes(removed.out, "schemas tunebase and tunebase_internal with 1 project and 1 job");
  const output = Object.values(first).join() + Object.values(removed).join();
  for (const secret of [platforms.supabaseToken, platforms.runpodKey, "tb_"]) {
    assert(!output.includes(secret));
  }
});
