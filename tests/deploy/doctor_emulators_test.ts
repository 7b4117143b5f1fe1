/**
 * `task doctor` on a deployment to the emulated platforms: it finds no problems, then everything that was broken through
 * the platforms' own APIs, and no problems after `task deploy` has repaired it.
 */
import { assert, assertEquals } from "#assert";
import { operator } from "../../cli/operator.ts";
import { version } from "../../cli/version.ts";
import { createContext } from "../../deploy/installation.ts";
import { type Check, runChecks } from "../../deploy/doctor/check.ts";
import { driftChecks } from "../../deploy/doctor/checks/drift.ts";
import { checkGroups } from "../../deploy/doctor/doctor.ts";
import { applySteps, planSteps } from "../../deploy/plan.ts";
import { migrations } from "../../deploy/sources.ts";
import { State } from "../../deploy/state.ts";
import { steps } from "../../deploy/steps/mod.ts";
import { startPlatforms } from "../../local/emulators/platforms.ts";
import { join } from "../../local/paths.ts";
import { parsePrometheus } from "../support/prometheus.ts";
import { settings } from "./deploy_context.ts";

const homeBefore = Deno.env.get("TUNEBASE_HOME");
const home = await Deno.makeTempDir({ prefix: "tunebase doctor " });
Deno.env.set("TUNEBASE_HOME", home);
const platforms = await startPlatforms({ home: join(home, "platforms"), log: () => {} });
Deno.test.afterAll(async () => {
  await platforms.stop();
  if (homeBefore === undefined) Deno.env.delete("TUNEBASE_HOME");
  else Deno.env.set("TUNEBASE_HOME", homeBefore);
  await Deno.remove(home, { recursive: true });
});

const wanted = { ...settings, project: { name: "acme", organization: "", region: "emea" } };
const organizations = await createContext(
  platforms.target,
  platforms,
  State.parse({ version: 1, profile: "default", target: "emulators" }),
  wanted,
).supabase.organizations();
wanted.project.organization = organizations[0]?.slug ?? "";
const state = State.parse({ version: 1, profile: "default", target: "emulators" });
const context = createContext(platforms.target, platforms, state, wanted);
const { supabase, runpod } = context;
const deploy = () => applySteps(steps, context, () => {}, () => {});
const release = { version, migrations: (await migrations()).map((one) => one.version) };
const check = () =>
  runChecks([...checkGroups, driftChecks(() => planSteps(steps, context))], context, release);
const problems = (checks: Check[]) =>
  checks.filter(({ status }) => status !== "ok").map(({ id, status }) => `${id} ${status}`);

await deploy();

Deno.test("a new deployment has no problems", async () => {
  const checks = await check();
  assertEquals(checks.filter(({ status }) => status !== "ok"), []);
  const shown = JSON.stringify(checks);
  for (const secret of [await context.masterKey(), platforms.runpodKey, platforms.supabaseToken]) {
    assert(!shown.includes(secret));
  }
});

Deno.test("the deployed API exports metrics", async () => {
  const secret = await operator(["metrics-secret"], await context.masterKey());
  const response = await fetch(
    `${platforms.target.projectUrl(state.project ?? "")}/functions/v1/tunebase/metrics`,
    { headers: { authorization: `Bearer ${secret}` } },
  );
  const metrics = parsePrometheus(await response.text());
  const [ticks] = metrics.get("tunebase_scheduler_ticks_total")?.samples ?? [];
  assert((ticks?.value ?? 0) > 0);
});

Deno.test("doctor finds what is broken, and task deploy repairs it", async () => {
  await supabase.execute("select cron.unschedule('tunebase-tick')");
  await supabase.execute("alter role tunebase_callback nologin");
  await supabase.setSecrets({ RUNPOD_API_KEY: "rpa_other" });
  await supabase.deleteFunction("tunebase-callback");
  const trainer = (await runpod.listEndpoints()).find(({ id }) => id === state.trainerEndpoint);
  assert(trainer !== undefined);
  await runpod.updateEndpoint(trainer.id, { workers: { min: 0, max: 0, idleTimeout: 5 } });
  const found = problems(await check());
  assertEquals(found.filter((line) => !line.startsWith("drift")), [
    "roles error",
    "secrets warning",
    "function-tunebase-callback error",
    "cron error",
    "endpoint-trainer error",
  ]);
  assertEquals(found.filter((line) => line.startsWith("drift")), [
    "drift-supabase-secrets warning",
    "drift-supabase-functions warning",
    "drift-supabase-timer warning",
    "drift-runpod-trainer warning",
  ]);
  await deploy();
  assertEquals(problems(await check()), []);
});
