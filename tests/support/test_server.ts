/**
 * Tunebase in one process for tests: the real apps over a real database, the emulators of Auth and Storage, and a fake
 * RunPod, on one port. The scheduler runs when a test calls `tick`; wake-ups are only counted.
 */
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import OpenAI from "openai";
import type postgres from "postgres";
import { createKey } from "../../local/stack/account.ts";
import { createAuth } from "../../local/emulators/auth/mod.ts";
import { createDashboard } from "../../local/stack/dashboard.ts";
import { startGateway } from "../../local/stack/gateway.ts";
import { freePort } from "../../local/state_dir.ts";
import { type Keys, loadKeys } from "../../local/stack/keys.ts";
import { createStorage } from "../../local/emulators/storage/mod.ts";
import { createApp as createApi } from "../../supabase/functions/tunebase/app.ts";
import { createApp as createCallback } from "../../supabase/functions/tunebase-callback/app.ts";
import { createApp as createScheduler } from "../../supabase/functions/tunebase-scheduler/app.ts";
import type { LogEntry } from "../../supabase/functions/_shared/log.ts";
import { type Platform, platform } from "../../supabase/functions/_shared/platform.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { callbackEnvironment, denoEnvironment } from "../../local/stack/environment.ts";
import { startFunction } from "../../local/emulators/functions/mod.ts";
import type { IsolateLimits } from "../../local/emulators/functions/limits.ts";
import { rolePassword, testDatabase } from "./database.ts";
import { FakeInference } from "./fake_inference.ts";
import { FakeRunpod } from "./fake_runpod.ts";

export interface Tunebase {
  url: string;
  sql: postgres.Sql;
  keys: Keys;
  runpod: FakeRunpod;
  inference: FakeInference;
  platform: Platform;
  /** The functions' environment, for one that runs as a separate process. */
  env: Record<string, string>;
  /** Scheduler wake-ups so far. */
  nudges: number;
  /** The API's process ids, if it runs in isolates. */
  apiPids(): number[];
  /** The emails that Auth would have sent. */
  mails: { to: string; link: string }[];
  /** The functions' log entries. */
  logs: LogEntry[];
  /** Creates a user with a project and key. */
  user(email?: string): Promise<TestUser>;
  /** Runs one scheduler tick; returns its response. */
  tick(): Promise<{ dispatched: number; reconciled: number; validated: number }>;
  close(): Promise<void>;
}

export interface TestUser {
  id: string;
  projectId: string;
  apiKey: string;
  accessToken: string;
  /** The official SDK, with this user's key; it does not retry. */
  openai: OpenAI;
  supabase: SupabaseClient;
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

export interface TunebaseOptions {
  /** Runs the API in isolates under these limits instead of in this process. */
  apiLimits?: IsolateLimits;
}

/** Starts it; close it at the end of the file. */
export async function startTunebase(
  env: Record<string, string> = {},
  options: TunebaseOptions = {},
): Promise<Tunebase> {
  const database = await testDatabase();
  const home = await Deno.makeTempDir({ prefix: "tunebase test " });
  const keys = await loadKeys(home);
  for (const role of ["tunebase_api", "tunebase_callback", "tunebase_scheduler"] as const) {
    keys.passwords[role] = rolePassword;
  }
  const port = freePort(0, "");
  const url = `http://127.0.0.1:${port}`;
  const all: Record<string, string> = {
    ...callbackEnvironment(url, database.url("postgres"), keys),
    ...env,
  };
  const environment = { get: (name: string): string | undefined => all[name] };
  const runpod = new FakeRunpod(keys.runpodKey);
  const inference = new FakeInference(keys);
  const counted = { nudges: 0 };
  const logs: LogEntry[] = [];
  const platforms = ["API", "CALLBACK", "SCHEDULER"].map((name) => {
    const made = platform(`TUNEBASE_${name}_DB_URL`, environment);
    made.waitUntil = () => void counted.nudges++;
    made.log = (entry) => void logs.push(entry);
    return made;
  });
  const [api, callback, scheduler] = platforms;
  if (api === undefined || callback === undefined || scheduler === undefined) {
    throw new Error("three platforms");
  }
  const apps = {
    tunebase: createApi(api),
    "tunebase-callback": createCallback(callback),
    "tunebase-scheduler": createScheduler(scheduler),
  };
  const edge = options.apiLimits === undefined
    ? null
    : await startFunction("tunebase", { ...denoEnvironment(), ...all }, `${home}/api.log`, {
      limits: options.apiLimits,
    });
  const schedulerSecret = deriveSecret(keys.masterKey, "scheduler");
  const mails: { to: string; link: string }[] = [];
  const auth = createAuth({
    sql: database.sql,
    issuer: `${url}/auth/v1`,
    ...keys,
    mail: (mail) => void mails.push(mail),
    hashCost: 4, // the least
  });
  const dashboard = createDashboard(keys);
  const storage = await createStorage({
    sql: database.sql,
    root: `${home}/storage`,
    signingSecret: keys.storageSecret,
    secretKey: keys.secretKey,
  });
  const gateway = startGateway(port, [
    { prefix: "/auth/v1", handle: (request) => auth.fetch(request) },
    { prefix: "/dashboard", handle: (request) => dashboard.fetch(request) },
    { prefix: "/storage/v1", handle: (request) => storage.fetch(request) },
    { prefix: "/runpod/lb", handle: (request) => inference.fetch(request) },
    { prefix: "/runpod/v2", handle: (request) => runpod.fetch(request) },
    ...Object.entries(apps).map(([name, app]) => ({
      prefix: `/functions/v1/${name}`,
      handle: (request: Request) => {
        // The apps' own wake-ups stop here: the test decides when the scheduler runs.
        if (name === "tunebase-scheduler" && !request.headers.has("x-test-tick")) {
          return Response.json({ ignored: true });
        }
        if (name === "tunebase" && edge !== null) {
          const { pathname, search } = new URL(request.url);
          return edge.fetch(request, pathname.replace("/functions/v1/", "/") + search);
        }
        const { method, headers, body, signal } = request;
        return app.fetch(
          new Request(request.url.replace("/functions/v1/", "/"), { method, headers, body, signal }),
        );
      },
    })),
  ], () => undefined);

  let users = 0;
  return {
    url,
    sql: database.sql,
    keys,
    runpod,
    inference,
    platform: callback,
    logs,
    env: all,
    apiPids: () => edge?.pids() ?? [],
    mails,
    get nudges() {
      return counted.nudges;
    },
    async user(email = `user${++users}@example.com`) {
      const supabase = createClient(url, keys.publishableKey, {
        auth: { persistSession: false, autoRefreshToken: false },
      });
      const { data, error } = await supabase.auth.signUp({ email, password: "correct horse" });
      if (error !== null || data.user === null || data.session === null) {
        throw error ?? new Error("no session");
      }
      await database.sql`select tunebase_internal.add_owner(${email})`;
      const apiKey = await createKey({ sql: database.sql }, data.user.id, "test");
      const [member] = await database.sql<{ project_id: string }[]>`
        select project_id from tunebase.project_members where user_id = ${data.user.id}`;
      const baseURL = `${url}/functions/v1/tunebase`;
      return {
        id: data.user.id,
        projectId: member?.project_id ?? "",
        apiKey,
        accessToken: data.session.access_token,
        openai: new OpenAI({ baseURL, apiKey, maxRetries: 0 }),
        supabase,
        fetch: (path, init = {}) => {
          const headers = new Headers(init.headers);
          if (!headers.has("authorization")) headers.set("authorization", `Bearer ${apiKey}`);
          return fetch(`${baseURL}${path}`, { ...init, headers });
        },
      };
    },
    async tick() {
      const response = await fetch(`${url}/functions/v1/tunebase-scheduler/tick`, {
        method: "POST",
        headers: { authorization: `Bearer ${schedulerSecret}`, "x-test-tick": "1" },
      });
      if (!response.ok) throw new Error(`tick: ${response.status} ${await response.text()}`);
      return await response.json();
    },
    async close() {
      await new Promise((resolve) => setTimeout(resolve, 20)); // wake-ups in flight
      await gateway.stop();
      await edge?.stop();
      await Promise.all(platforms.map(({ db }) => db.close()));
      await database.close();
      await Deno.remove(home, { recursive: true });
    },
  };
}
