/** How `task deploy`, `task destroy` and `task doctor` reject invalid input. Nothing here reaches a platform. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { addDeploy } from "../../deploy/commands.ts";
import { addDoctor } from "../../deploy/doctor/command.ts";
import { DeployError } from "../../deploy/errors.ts";
import { call, PlatformError, suggestFix } from "../../deploy/platforms/request.ts";
import { readSettings, savedSettings } from "../../deploy/questions.ts";
import { loadState, saveState } from "../../deploy/state.ts";
import { hosted } from "../../deploy/target.ts";
import { Command, CommanderError } from "commander";
import * as z from "zod";
import { settings } from "./deploy_context.ts";

const home = await Deno.makeTempDir();
Deno.env.set("TUNEBASE_HOME", home);
Deno.env.delete("SUPABASE_ACCESS_TOKEN");
Deno.env.delete("RUNPOD_API_KEY");
Deno.test.afterAll(async () => {
  Deno.env.delete("TUNEBASE_HOME");
  await Deno.remove(home, { recursive: true });
});

/** The message that a command line ends with. */
async function refusal(...args: string[]): Promise<string> {
  const program = new Command("deno task").exitOverride().configureOutput({ writeErr: () => {} });
  addDeploy(program);
  addDoctor(program);
  for (const command of program.commands) command.configureOutput({ writeErr: () => {} });
  const error = await assertRejects(() => program.parseAsync(args, { from: "user" }), Error);
  if (error instanceof CommanderError) assertEquals(error.exitCode, 1);
  return error.message;
}

Deno.test("an invalid option value is rejected with the option's name and the allowed values", async () => {
  const cases: [args: string[], text: string][] = [
    [["--project", "my-project"], "the 20 lowercase letters"],
    [["--region", "mars"], "americas, emea, apac"],
    [["--models", " , "], "at least one item"],
    [["--gpu", ""], "at least one item"],
    [["--max-workers", "0"], "at least 1"],
    [["--trainer-image", "not an image"], "ghcr.io/YOU/tunebase-trainer@sha256:"],
    [["--inference-image", "ghcr.io/acme/x@sha256:123"], "64 hexadecimal digits"],
    [["--dashboard-url", "dashboard"], "https://"],
    [["--profile", "My"], "lowercase letters"],
  ];
  for (const [args, text] of cases) {
    const message = await refusal("deploy", ...args);
    assertStringIncludes(message, `option '${args[0]}`);
    assertStringIncludes(message, text);
  }
});

Deno.test("missing credentials are named together, with where to create them", async () => {
  const message = await refusal("deploy", "--profile", "new");
  assertStringIncludes(message, "SUPABASE_ACCESS_TOKEN and RUNPOD_API_KEY are not set.");
  assertStringIncludes(message, "https://supabase.com/dashboard/account/tokens");
});

Deno.test("doctor rejects --days without --bills, and an installation that was removed", async () => {
  assertEquals(await refusal("doctor", "--days", "3"), "--days requires --bills.");
  const state = await loadState("removed", "hosted");
  await saveState({
    ...state,
    project: "abcdefghijklmnopqrst",
    settings: savedSettings(settings),
    deployedVersion: "0.1.0",
  });
  Deno.env.set("SUPABASE_ACCESS_TOKEN", "sbp_x");
  Deno.env.set("RUNPOD_API_KEY", "rpa_x");
  try {
    const message = await refusal("doctor", "--profile", "removed");
    assertStringIncludes(message, "Its data is still in Supabase project abcdefghijklmnopqrst.");
    assertStringIncludes(message, "--delete-data");
  } finally {
    Deno.env.delete("SUPABASE_ACCESS_TOKEN");
    Deno.env.delete("RUNPOD_API_KEY");
  }
});

Deno.test("a profile that is not deployed is reported before credentials, with the others", async () => {
  assertStringIncludes(await refusal("doctor", "--profile", "missing"), "task deploy first");
  await saveState({ ...await loadState("production", "hosted"), project: "abcdefghijklmnopqrst" });
  const message = await refusal("destroy", "--profile", "missing");
  assertStringIncludes(message, "Profile missing is not deployed");
  assertStringIncludes(message, "production");
});

Deno.test("options for a new project are rejected for an existing one", async () => {
  const state = {
    ...await loadState("exists", "hosted"),
    project: "abcdefghijklmnopqrst",
    settings: { ...settings, project: { ref: "abcdefghijklmnopqrst" } },
  };
  const credentials = { supabaseToken: "sbp_x", runpodKey: "rpa_x" };
  const error = await assertRejects(
    () => readSettings({ profile: "exists", projectName: "other" }, state, hosted, credentials),
    DeployError,
    "is deployed to project abcdefghijklmnopqrst: --project-name cannot change it",
  );
  assertStringIncludes(error.fix, "--profile");
  await assertRejects(
    () =>
      readSettings(
        { profile: "new", project: "abcdefghijklmnopqrst", region: "emea" },
        { ...state, project: null, settings: null },
        hosted,
        credentials,
      ),
    DeployError,
    "--project names an existing project",
  );
});

Deno.test("an unreachable platform is named once, with its host and the reason", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = listener.addr;
  listener.close();
  const options = { platform: "Supabase", baseUrl: `http://127.0.0.1:${port}`, token: "x", refused: "" };
  const error = await assertRejects(
    () => call({ ...options, retries: 0 }, "GET", "/v1/projects", z.unknown()),
    PlatformError,
    `cannot be reached at 127.0.0.1:${port}: `,
  );
  assert(!error.message.includes("Supabase"), error.message);
  assertStringIncludes(suggestFix(error), "connection");
});
