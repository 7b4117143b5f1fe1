/**
 * Tunebase on the Supabase CLI's local stack: real Supabase services and the real edge runtime, in containers, with RunPod
 * emulated on this machine.
 *
 * Containers and this machine's workers use the same URLs, so these need an address that both can reach: not 127.0.0.1, which
 * inside a container is the container itself.
 */
import postgres from "postgres";
import { startCron } from "../emulators/cron.ts";
import { join, writePrivate } from "../paths.ts";
import { namedPort } from "../state_dir.ts";
import { createDashboard } from "./dashboard.ts";
import { registerSpeed, registerTokenizer } from "./demo_model.ts";
import { callbackEnvironment, deriveSchedulerSecret } from "./environment.ts";
import { startGateway } from "./gateway.ts";
import { inferenceEndpoint } from "./inference.ts";
import { type Keys, loadKeys } from "./keys.ts";
import type { LocalProject, LocalSupabase, Served } from "./local_supabase.ts";
import { prepareTunebase } from "./migrate.ts";
import { endLeftovers, forgetStack, pause, recordStack, runningStack } from "./processes.ts";
import { trainerEndpoint } from "./trainer.ts";

export interface SupabaseStack {
  home: string;
  /** Supabase's URL on this machine. */
  url: string;
  dashboardUrl: string;
  keys: Keys;
  sql: postgres.Sql;
  stop(): Promise<void>;
}

export interface SupabaseStackOptions {
  /** Keys, logs and adapters; Supabase's data is in its containers. */
  home: string;
  supabase: LocalSupabase;
  /** The port of the dashboard and of RunPod. */
  port: number;
  log: (line: string) => void;
  /** An IPv4 address of this machine that containers can reach; detected unless given. */
  address?: string;
  /** Replaces RunPod; starts no worker. */
  runpod?: { fetch(request: Request): Response | Promise<Response> };
}

/** Starts everything. Throws an Error with the reason if it cannot. `stop` keeps containers that were already running. */
export async function startOnSupabase(options: SupabaseStackOptions): Promise<SupabaseStack> {
  const { home, supabase, log } = options;
  await Deno.mkdir(join(home, "logs"), { recursive: true, mode: 0o700 });
  const running = await runningStack(home);
  if (running !== null) {
    throw new Error(`A stack is already running here (pid ${running.pid}, ${running.url}).`);
  }
  await endLeftovers(home);
  const address = options.address ?? machineAddress();
  const port = await namedPort(options.port, "TUNEBASE_PORT", log);

  const started: { stop(): Promise<void> }[] = [];
  const stop = async () => {
    for (const part of started.splice(0).reverse()) await part.stop();
    await forgetStack(home);
  };
  try {
    let project = await supabase.status();
    if (project === null) {
      log("starting Supabase; the first start downloads its images …");
      await supabase.start();
      started.push({ stop: () => supabase.stop() });
      project = await supabase.status();
      if (project === null) throw new Error("Supabase has started, but `supabase status` fails.");
    }
    const keys = await projectKeys(home, project);
    await recordStack(home, project.url);
    await prepareTunebase(project.dbUrl, keys);

    const ownUrl = `http://${address}:${port}`;
    const dashboardUrl = `http://127.0.0.1:${port}/dashboard/`;
    const runpod = trainerEndpoint({ home, keys, url: ownUrl, log });
    const inference = inferenceEndpoint({ home, keys, log });
    const dashboard = createDashboard(keys, project.url);
    started.push(
      runpod,
      inference,
      startGateway(
        port,
        [
          { prefix: "/runpod/lb", handle: (request) => inference.fetch(request) },
          { prefix: "/runpod", handle: (request) => (options.runpod ?? runpod).fetch(request) },
        ],
        () => undefined,
        address,
      ),
      // Browsers allow hashing and the clipboard only on https and 127.0.0.1.
      startGateway(
        port,
        [{ prefix: "/dashboard", handle: (request) => dashboard.fetch(request) }],
        () => undefined,
      ),
    );

    const envFile = join(home, "functions.env");
    await writePrivate(envFile, environmentFile(project, ownUrl, address, dashboardUrl, keys));
    const logFile = join(home, "logs/functions.log");
    const served = await supabase.serve(envFile, logFile);
    started.push(served);
    await healthy(`${project.url}/functions/v1/tunebase/health`, served, logFile);

    const sql = postgres(project.dbUrl, { max: 4, idle_timeout: 20, onnotice: () => {} });
    started.push({ stop: () => sql.end({ timeout: 5 }) });
    // After `supabase db reset`, the account must be created again.
    const [user] = await sql`select from auth.users where email = ${keys.account?.email ?? ""}`;
    if (user === undefined) delete keys.account;
    await registerSpeed(sql);
    await registerTokenizer({ url: project.url, keys, sql });
    // The containers' pg_cron does not know the functions' URL.
    const tick = `${project.url}/functions/v1/tunebase-scheduler/tick`;
    started.push(startCron(tick, deriveSchedulerSecret(keys), 2, log));
    return { home, url: project.url, dashboardUrl, keys, sql, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** This installation's keys, with the project's own. */
async function projectKeys(home: string, project: LocalProject): Promise<Keys> {
  const keys = await loadKeys(home);
  keys.publishableKey = project.publishableKey;
  keys.secretKey = project.secretKey;
  return keys;
}

/** The functions' environment as `supabase functions serve` reads it. It ignores names that begin with SUPABASE_ and sets them itself. */
function environmentFile(
  project: LocalProject,
  ownUrl: string,
  address: string,
  dashboardUrl: string,
  keys: Keys,
): string {
  const own = Object.entries(callbackEnvironment(ownUrl, at(address, project.dbUrl), keys))
    .filter(([name]) => !name.startsWith("SUPABASE_"));
  const variables = {
    ...Object.fromEntries(own),
    TUNEBASE_SUPABASE_URL: at(address, project.url),
    TUNEBASE_AUTH_ISSUER: `${project.url}/auth/v1`,
    TUNEBASE_LEGACY_JWT_SECRET: project.jwtSecret,
    TUNEBASE_DASHBOARD_URL: `${dashboardUrl}#`,
  };
  return Object.entries(variables).map(([name, value]) => `${name}="${value}"\n`).join("");
}

/** Replaces the address in a URL of this machine. */
function at(address: string, url: string): string {
  const moved = new URL(url);
  moved.hostname = address;
  return moved.href.replace(/\/$/, "");
}

/**
 * An address of this machine that its containers can reach: of Docker's bridge, which other machines cannot reach, or else
 * of its network. Throws an Error if there is none.
 */
function machineAddress(): string {
  const found = Deno.networkInterfaces().filter(({ family, address }) =>
    family === "IPv4" && !/^(127|169\.254)\./.test(address)
  );
  const address = (found.find(({ name }) => name === "docker0") ?? found[0])?.address;
  if (address === undefined) {
    throw new Error(
      "This machine has no network address that Supabase's containers can reach. Connect it to a network.",
    );
  }
  return address;
}

/** Waits until a function responds. The edge runtime downloads the functions' packages on its first start. */
async function healthy(url: string, served: Served, logFile: string): Promise<void> {
  let ended = false;
  void served.ended.then(() => ended = true);
  for (const end = Date.now() + 180_000; Date.now() < end && !ended; await pause(500)) {
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) }).catch(() => null);
    await response?.body?.cancel();
    if (response?.ok === true) return;
  }
  const what = ended ? "`supabase functions serve` has ended." : `${url} does not respond.`;
  throw new Error(`${what} See ${logFile}.`);
}
