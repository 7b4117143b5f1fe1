/**
 * `task dev --supabase` without containers. The Supabase CLI is a program that records its arguments. The project's functions
 * see the internal URL that containers see, and it is reachable at an address other than 127.0.0.1.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { createClient } from "@supabase/supabase-js";
import { createAuth } from "../../local/emulators/auth/mod.ts";
import { type EdgeFunction, startFunction } from "../../local/emulators/functions/mod.ts";
import { createStorage } from "../../local/emulators/storage/mod.ts";
import { join } from "../../local/paths.ts";
import { ensureAccount } from "../../local/stack/account.ts";
import { denoEnvironment } from "../../local/stack/environment.ts";
import { type Gateway, startGateway } from "../../local/stack/gateway.ts";
import { type Keys, loadKeys, saveKeys } from "../../local/stack/keys.ts";
import { type LocalSupabase, supabaseContainers } from "../../local/stack/local_supabase.ts";
import { startOnSupabase } from "../../local/stack/on_supabase.ts";
import { freePort } from "../../local/state_dir.ts";
import { rolePassword, testDatabase } from "../support/database.ts";
import { FakeRunpod } from "../support/fake_runpod.ts";
import { FakeWorker, rows } from "../support/fake_worker.ts";
import { startLatencyProxy } from "../support/latency_proxy.ts";

/** Plays the role of the containers' address: it belongs to this machine but is not 127.0.0.1. */
const address = "127.0.0.2";

/** A project like that of `supabase start`. Its ports are reachable at 127.0.0.1 and at `address`. */
async function startProject(home: string) {
  const database = await testDatabase();
  const keys = await loadKeys(home);
  const port = freePort(0, "");
  const url = `http://127.0.0.1:${port}`;
  const auth = createAuth({ sql: database.sql, issuer: `${url}/auth/v1`, ...keys });
  const storage = await createStorage({
    sql: database.sql,
    root: join(home, "storage"),
    signingSecret: keys.storageSecret,
    secretKey: keys.secretKey,
  });
  const functions = new Map<string, EdgeFunction>();
  const publish = (hostname: string): Gateway =>
    startGateway(
      port,
      [
        { prefix: "/auth/v1", handle: (request) => auth.fetch(request) },
        { prefix: "/storage/v1", handle: (request) => storage.fetch(request) },
      ],
      (name) => functions.get(name),
      hostname,
    );
  const gateways = [publish("127.0.0.1"), publish(address)];
  const dbUrl = database.url("postgres");
  const dbPort = Number(new URL(dbUrl).port);
  const published = startLatencyProxy(dbPort, 0, { hostname: address, port: dbPort });
  const calls: string[] = [];
  let runs = false;
  const supabase: LocalSupabase = {
    status: () =>
      Promise.resolve(
        runs
          ? {
            url,
            dbUrl,
            publishableKey: keys.publishableKey,
            secretKey: keys.secretKey,
            jwtSecret: "legacy",
          }
          : null,
      ),
    start: () => {
      calls.push("start");
      runs = true;
      return Promise.resolve();
    },
    serve: async (envFile) => {
      const text = await Deno.readTextFile(envFile);
      const variables = Object.fromEntries(
        [...text.matchAll(/^(\w+)="(.*)"$/gm)].map(([, name = "", value = ""]) => [name, value]),
      );
      const env = {
        ...denoEnvironment(),
        ...variables,
        SUPABASE_URL: "http://supabase_kong_tunebase.invalid:8000",
        SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: keys.publishableKey }),
        SUPABASE_SECRET_KEYS: JSON.stringify({ default: keys.secretKey }),
        SUPABASE_JWKS: JSON.stringify({ keys: [keys.publicJwk] }),
      };
      const names = ["tunebase", "tunebase-callback", "tunebase-scheduler"];
      for (
        const one of await Promise.all(
          names.map((name) => startFunction(name, env, join(home, `${name}.log`))),
        )
      ) functions.set(one.name, one);
      const ended = Promise.withResolvers<void>();
      return {
        ended: ended.promise,
        stop: async () => {
          await Promise.all([...functions.values()].map((one) => one.stop()));
          ended.resolve();
        },
      };
    },
    stop: () => {
      calls.push("stop");
      return Promise.resolve();
    },
  };
  const close = async () => {
    await Promise.all(gateways.map((gateway) => gateway.stop()));
    await published.stop();
    await database.close();
  };
  return { supabase, calls, url, close };
}

/** Keys with the passwords that the roles of the shared server have, and an account that the database no longer has. */
async function ownKeys(home: string): Promise<Keys> {
  const keys = await loadKeys(home);
  for (const role of ["tunebase_api", "tunebase_callback", "tunebase_scheduler"] as const) {
    keys.passwords[role] = rolePassword;
  }
  keys.account = { email: "dev@tunebase.local", password: "from before", apiKey: "tb_from_before" };
  await saveKeys(home, keys);
  return keys;
}

Deno.test("a job on the local Supabase uses only URLs that both containers and the machine can reach", async () => {
  const directory = await Deno.makeTempDir({ prefix: "tunebase on supabase " });
  await Deno.mkdir(join(directory, "project"));
  const project = await startProject(join(directory, "project")).catch(async (error) => {
    await Deno.remove(directory, { recursive: true });
    throw error;
  });
  const home = join(directory, "own");
  await Deno.mkdir(home);
  const runpod = new FakeRunpod((await ownKeys(home)).runpodKey);
  const port = freePort(0, "");
  const stack = await startOnSupabase({
    home,
    supabase: project.supabase,
    port,
    log: () => {},
    address,
    runpod,
  });
  try {
    const account = await ensureAccount(stack);
    const call = async (path: string, init: RequestInit = {}, token = account.apiKey) => {
      const headers = { authorization: `Bearer ${token}`, ...init.headers };
      const response = await fetch(`${account.baseUrl}${path}`, { ...init, headers });
      const answer = await response.json();
      assert(response.ok, JSON.stringify(answer));
      return answer;
    };
    const form = new FormData();
    form.append("purpose", "fine-tune");
    form.append("file", new File([rows], "rows.jsonl"));
    const file = await call("/files", { method: "POST", body: form });
    await call("/fine_tuning/jobs", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "SmolLM2-135M-Instruct", training_file: file.id }),
    });
    for (let tries = 0; runpod.runs.length === 0 && tries < 200; tries++) {
      await new Promise((done) => setTimeout(done, 50));
    }
    const input = Object(Reflect.get(Object(runpod.runs[0]?.body), "input"));
    const callback = new URL(String(input.callback_url));
    assertEquals([callback.hostname, callback.port], [address, new URL(project.url).port]);

    const attempt = callback.pathname.split("/").at(-1) ?? "";
    const claim = await new FakeWorker({ url: callback.origin, keys: stack.keys }, attempt).claim();
    const dataset = String(claim.dataset_url);
    assertEquals(new URL(dataset).hostname, address);
    assertStringIncludes(await (await fetch(dataset)).text(), `"role":"user"`);

    // Auth's tokens have the issuer that it has on this machine.
    const client = createClient(project.url, stack.keys.publishableKey, {
      auth: { persistSession: false, autoRefreshToken: false },
    });
    const { data } = await client.auth.signInWithPassword(account);
    const projects = await call("/projects", {}, data.session?.access_token);
    assertEquals(projects.data.length, 1);

    const config = await fetch(`http://127.0.0.1:${port}/dashboard/config.json`);
    assertEquals((await config.json()).supabaseUrl, project.url);
    assertEquals((await Deno.stat(join(home, "functions.env"))).mode?.toString(8).slice(-3), "600");
  } finally {
    await stack.stop();
    await project.close();
    await Deno.remove(directory, { recursive: true });
  }
  assertEquals(project.calls, ["start", "stop"]);
});

Deno.test("the CLI's commands, its status and its failures", async () => {
  const directory = await Deno.makeTempDir();
  const command = join(directory, "supabase");
  const status = {
    API_URL: "http://127.0.0.1:54321",
    DB_URL: "postgresql://postgres:postgres@127.0.0.1:54322/postgres",
    PUBLISHABLE_KEY: "sb_publishable_x",
    SECRET_KEY: "sb_secret_x",
    JWT_SECRET: "secret",
    STUDIO_URL: "http://127.0.0.1:54323",
  };
  await Deno.writeTextFile(
    command,
    `#!/bin/sh
echo "$@" >> "${directory}/calls"
case "$1" in
  status) [ -e "${directory}/runs" ] && cat "${directory}/runs" ;;
  start) [ ! -e "${directory}/broken" ] ;;
  functions) echo serving; trap 'exit 0' INT; while :; do sleep 0.05; done ;;
esac
`,
    { mode: 0o755 },
  );
  const supabase = supabaseContainers(command, directory);
  try {
    assertEquals(await supabase.status(), null, "nothing runs");
    await supabase.start();
    await Deno.writeTextFile(join(directory, "runs"), JSON.stringify(status));
    assertEquals(await supabase.status(), {
      url: status.API_URL,
      dbUrl: status.DB_URL,
      publishableKey: "sb_publishable_x",
      secretKey: "sb_secret_x",
      jwtSecret: "secret",
    });
    const served = await supabase.serve("/some/functions.env", join(directory, "log"));
    for (let tries = 0; tries < 100; tries++) {
      if ((await Deno.readTextFile(join(directory, "log"))).includes("serving")) break;
      await new Promise((done) => setTimeout(done, 20));
    }
    await served.stop();
    await supabase.stop();
    assertEquals((await Deno.readTextFile(join(directory, "calls"))).trim().split("\n"), [
      "status -o json",
      "start",
      "status -o json",
      "functions serve --env-file /some/functions.env",
      "stop",
    ]);
    await Deno.writeTextFile(join(directory, "broken"), "");
    await assertRejects(() => supabase.start(), Error, "supabase start failed");
    await Deno.writeTextFile(join(directory, "runs"), JSON.stringify({ ...status, DB_URL: undefined }));
    await assertRejects(() => supabase.status(), Error, "DB_URL");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
