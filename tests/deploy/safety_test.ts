/** Protects operators from lost keys, concurrent runs, leaked credentials, wrong prices and ignored flags. */
import { assert, assertEquals, assertRejects } from "#assert";
import { planCosts } from "../../deploy/costs.ts";
import { runChecks } from "../../deploy/doctor/check.ts";
import { DeployError } from "../../deploy/errors.ts";
import { PlatformError } from "../../deploy/platforms/request.ts";
import { readCredentials, readSettings } from "../../deploy/questions.ts";
import { lockProfile, profilesFolder, type SavedSettings, State } from "../../deploy/state.ts";
import type { Context } from "../../deploy/step.ts";
import { runpodVolume } from "../../deploy/steps/runpod_volume.ts";
import { supabaseSecrets } from "../../deploy/steps/supabase_secrets.ts";
import { supabaseTimer } from "../../deploy/steps/supabase_timer.ts";
import { join } from "../../local/paths.ts";
import { deployContext, masterKey, settings } from "./deploy_context.ts";
import { startRunpodAccount } from "./runpod_account.ts";

const emulated = (context: Context) =>
  readSettingsOf(context, { project: { name: "shop", organization: "acme", region: "emea" } });

function readSettingsOf({ state, target }: Context, saved: Partial<SavedSettings>) {
  const { profile, registry: _, hubToken: __, ...rest } = settings;
  const changed = State.parse({ ...state, settings: { ...rest, ...saved } });
  return (flags: Partial<Parameters<typeof readSettings>[0]>) =>
    readSettings({ profile, ...flags }, changed, target, {
      supabaseToken: "sbp_token",
      runpodKey: "rpa_key",
    });
}

/** Fakes a project whose functions have no secrets, and records the SQL that it runs. */
function emptyProject(ran: { query: string; parameters?: unknown[] }[], written: unknown[]) {
  return async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/config/database/pooler")) {
      return Response.json([{
        database_type: "PRIMARY",
        db_user: "postgres.ref",
        db_host: "pooler",
        db_port: 6543,
        db_name: "postgres",
        pool_mode: "transaction",
      }]);
    }
    if (pathname.endsWith("/config/storage")) return Response.json({ fileSizeLimit: 1000 });
    if (pathname.endsWith("/secrets")) {
      if (request.method === "GET") return Response.json([]);
      written.push(await request.json());
      return Response.json({});
    }
    const sql = await request.json();
    ran.push(sql);
    if (/to_regnamespace/.test(sql.query)) return Response.json([{ exists: true }]);
    return Response.json([]);
  };
}

Deno.test("a master key that is temporarily unreadable is never replaced by an empty one", async () => {
  const ran: { query: string; parameters?: unknown[] }[] = [];
  const written: unknown[] = [];
  await using context = deployContext({ runpodRest: "", supabase: emptyProject(ran, written) });
  let reads = 0;
  const flaky = {
    ...context,
    masterKey: () =>
      ++reads === 1
        ? Promise.reject(new PlatformError("Supabase", 502, "Bad Gateway"))
        : Promise.resolve(masterKey),
  };
  for (const step of [supabaseSecrets, supabaseTimer]) {
    reads = 0;
    await assertRejects(() => step.apply(flaky), PlatformError, "Bad Gateway");
    await step.apply(flaky);
  }
  assertEquals(JSON.stringify(written).includes('"value":""'), false);
  assert(!ran.some(({ parameters = [] }) => parameters.includes("")));
});

Deno.test("no statement for Vault contains a secret, because the database's errors and logs quote statements", async () => {
  const ran: { query: string; parameters?: unknown[] }[] = [];
  await using context = deployContext({ runpodRest: "", supabase: emptyProject(ran, []) });
  await supabaseTimer.apply(context);
  const vault = ran.filter(({ query }) => query.includes("vault.create_secret"));
  assertEquals(vault.map(({ query }) => query), Array(2).fill("select vault.create_secret($1, $2)"));
});

Deno.test("only one run at a time can use a profile; a lock whose process has ended is ignored", async () => {
  await using _home = deployContext({ runpodRest: "" }); // sets TUNEBASE_HOME
  const file = join(profilesFolder(), "default.lock");
  const unlock = await lockProfile("default");
  assertEquals(await Deno.readTextFile(file), `${Deno.pid}\n`);
  await Deno.writeTextFile(file, `${Deno.ppid}\n`);
  const refused = await assertRejects(() => lockProfile("default"), DeployError, "Another run is working");
  assert(refused.fix.includes(file));
  await (await lockProfile("other"))();
  await unlock();
  const { code, pid } = await (async () => {
    const child = new Deno.Command(Deno.execPath(), { args: ["--version"], stdout: "null" }).spawn();
    return { pid: child.pid, code: (await child.status).code };
  })();
  assertEquals(code, 0);
  await Deno.writeTextFile(file, `${pid}\n`);
  await (await lockProfile("default"))();
});

Deno.test("the settings of a project can change until it has been created", async () => {
  await using context = deployContext({ runpodRest: "" });
  context.state.project = null;
  assertEquals((await emulated(context)({ region: "apac" })).project, {
    name: "shop",
    organization: "acme",
    region: "apac",
  });
  context.state.project = "abcdefghijklmnopqrst";
  assertEquals((await emulated(context)({ region: "emea" })).project, {
    name: "shop",
    organization: "acme",
    region: "emea",
  });
  await assertRejects(
    () => emulated(context)({ region: "apac", projectName: "b" }),
    DeployError,
    "deployed to project abcdefghijklmnopqrst: --project-name, --region cannot change it",
  );
});

Deno.test("a token with a line break is an error that does not show it", async () => {
  Deno.env.set("SUPABASE_ACCESS_TOKEN", "sbp_abc\n");
  Deno.env.set("RUNPOD_API_KEY", "rpa_secret\nrpa_other");
  try {
    const error = await assertRejects(() => readCredentials(), DeployError, "RUNPOD_API_KEY contains");
    assert(!`${error.message} ${error.fix}`.includes("rpa_"));
    Deno.env.set("RUNPOD_API_KEY", "rpa_secret");
    assertEquals((await readCredentials()).supabaseToken, "sbp_abc");
  } finally {
    Deno.env.delete("SUPABASE_ACCESS_TOKEN");
    Deno.env.delete("RUNPOD_API_KEY");
  }
});

Deno.test("the volume's cost is based on its actual size, and it is created in the planned data center", async () => {
  await using account = await startRunpodAccount();
  await using context = deployContext({ runpodRest: account.rest });
  assertEquals((await planCosts(context)).idleUsdPerMonth, 3.5);
  const [planned] = await runpodVolume.plan(context);
  assert(planned?.what.includes("EU-RO-1"));
  // Capacity moves elsewhere before the operator agrees.
  context.runpod.listGpus = () => Promise.resolve([]);
  await runpodVolume.apply(context);
  const volume = await context.runpod.updateVolume(context.state.volume ?? "", { size: 200 });
  assertEquals(volume.dataCenter, "EU-RO-1");
  await using later = deployContext({ runpodRest: account.rest, state: { volume: volume.id } });
  assertEquals(Math.round((await planCosts(later)).idleUsdPerMonth), 14);
});

Deno.test("the doctor's commands are for the profile that it checked", async () => {
  await using context = deployContext({ runpodRest: "", state: { profile: "staging" } });
  const fails = { id: "x", run: () => Promise.reject(new DeployError("Broken.", "Do this.")) };
  const asks = {
    id: "y",
    run: async () => {
      const { deployCommand, failed } = await import("../../deploy/doctor/check.ts");
      return [failed("y", "gone", `Create it again: ${deployCommand}`)];
    },
  };
  const checks = await runChecks([fails, asks], context, { version: "1", migrations: [] });
  assertEquals(checks.map(({ fix }) => fix?.replace(/: .*task deploy/, ": task deploy")), [
    "Do this.",
    "Create it again: task deploy --profile staging --target emulators",
  ]);
});
