/** The embedded stack: real Postgres, functions and trainer; emulators of the hosted services. */
import postgres from "postgres";
import { callbackEnvironment, denoEnvironment, deriveSchedulerSecret } from "./environment.ts";
import { createAuth } from "../emulators/auth/mod.ts";
import { createDashboard } from "./dashboard.ts";
import { type Cron, startCron } from "../emulators/cron.ts";
import { type EdgeFunction, startFunction } from "../emulators/functions/mod.ts";
import { startGateway } from "./gateway.ts";
import { cache, namedPort, portSetting } from "../state_dir.ts";
import { type IsolateLimits, limitsSetting } from "../emulators/functions/limits.ts";
import { type Keys, loadKeys } from "./keys.ts";
import { prepareDatabase, prepareTunebase } from "./migrate.ts";
import { exists, join } from "../paths.ts";
import { startPostgres } from "./postgres.ts";
import { endLeftovers, forgetStack, marked, recordStack, runningStack } from "./processes.ts";
import type { RunpodOptions } from "../emulators/runpod/mod.ts";
import { inferenceEndpoint } from "./inference.ts";
import { trainerEndpoint } from "./trainer.ts";
import type { Run } from "../emulators/runpod/queue.ts";
import { createStorage } from "../emulators/storage/mod.ts";
import { registerSpeed, registerTokenizer } from "./demo_model.ts";

export interface Stack {
  home: string;
  /** The gateway's address, instead of `https://<project>.supabase.co`. */
  url: string;
  /** The database's address for the superuser. */
  dbUrl: string;
  keys: Keys;
  sql: postgres.Sql;
  cron: Cron;
  /** The process ids of RunPod's workers. */
  workers(): number[];
  /** The process ids of the inference endpoint's workers; none until the first request. */
  inferenceWorkers(): number[];
  /** The environment that the functions were started with. */
  functionEnv: Record<string, string>;
  /** The runs that RunPod accepted. */
  runs(): Run[];
  /** The process ids of a function, or of Postgres (its server and the server's children). Each restarts when killed. */
  pids(part: "tunebase" | "tunebase-callback" | "tunebase-scheduler" | "postgres"): Promise<number[]>;
  stop(): Promise<void>;
}

export interface StackOptions {
  home: string;
  log: (line: string) => void;
  port?: number;
  dbPort?: number;
  /** Additional environment variables of the functions, such as TUNEBASE_LEASE_SECONDS. */
  functionEnv?: Record<string, string>;
  /** Additional environment variables of the worker. */
  workerEnv?: Record<string, string>;
  worker?: Partial<RunpodOptions["worker"]>;
  /** Additional environment variables of the inference worker. */
  inferenceEnv?: Record<string, string>;
  /** The inference worker ends after this time without a request; by default as TUNEBASE_INFERENCE_IDLE_SECONDS says. */
  inferenceIdleMs?: number;
  /** Replaces the RunPod under `/runpod/v2`, with the key of `loadKeys(home)`; starts no worker. */
  runpod?: { fetch(request: Request): Response | Promise<Response> };
  /** Maximum number of concurrent workers; 1 by default. */
  maxWorkers?: number;
  cronSeconds?: number;
  /** The functions' limits; by default the platform's, or as TUNEBASE_FUNCTION_LIMITS says. */
  limits?: IsolateLimits | null;
}

/** Starts everything. Throws an Error with the reason if it cannot (a port in use, a stack that is already running). */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { home, log } = options;
  const limits = options.limits === undefined ? limitsSetting() : options.limits;
  await Deno.mkdir(join(home, "logs"), { recursive: true, mode: 0o700 });
  const running = await runningStack(home);
  if (running !== null) {
    throw new Error(
      `A stack is already running here (pid ${running.pid}, ${running.url}). Stop it, or set TUNEBASE_HOME to another folder.`,
    );
  }
  const left = await endLeftovers(home);
  if (left > 0) log(`ended ${left} processes that an earlier stack left behind`);

  const started: { stop(): Promise<void> }[] = [];
  const stop = async () => {
    for (const part of started.splice(0).reverse()) await part.stop();
    await forgetStack(home);
  };
  try {
    // Before the database, which takes longer, so that a port in use is reported immediately.
    const port = await namedPort(options.port ?? portSetting("TUNEBASE_PORT", 54321), "TUNEBASE_PORT", log);
    const url = `http://127.0.0.1:${port}`;
    const keys = await loadKeys(home);
    await recordStack(home, url);

    const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
      const begin = performance.now();
      const result = await work();
      log(`${what} (${((performance.now() - begin) / 1000).toFixed(1)} s)`);
      return result;
    };
    const database = await timed("PostgreSQL 17 is up", () =>
      startPostgres({
        home,
        port: options.dbPort ?? portSetting("TUNEBASE_DB_PORT", 54322),
        password: keys.passwords.postgres,
      }));
    started.push(database);
    await timed("migrations are applied by the Supabase CLI", async () => {
      await prepareDatabase(database.url);
      await prepareTunebase(database.url, keys);
    });

    const sql = postgres(database.url, {
      max: 8,
      idle_timeout: 20,
      backoff: (failures) => Math.min(1, failures * 0.1),
      onnotice: () => {},
    });
    started.push({ stop: () => sql.end({ timeout: 5 }) });
    const auth = createAuth({
      sql,
      issuer: `${url}/auth/v1`,
      ...keys,
      mail: ({ to, link }) => log(`a link to sign in as ${to}: ${link}`),
    });
    const dashboard = createDashboard(keys);
    const storage = await createStorage({
      sql,
      root: join(home, "storage"),
      signingSecret: keys.storageSecret,
      secretKey: keys.secretKey,
    });
    const runpod = trainerEndpoint({
      home,
      keys,
      url,
      log,
      ...(options.maxWorkers === undefined ? {} : { maxWorkers: options.maxWorkers }),
      ...(options.worker === undefined ? {} : { worker: options.worker }),
      ...(options.workerEnv === undefined ? {} : { env: options.workerEnv }),
    });

    const inference = inferenceEndpoint({
      home,
      keys,
      log,
      ...(options.inferenceEnv === undefined ? {} : { env: options.inferenceEnv }),
      ...(options.inferenceIdleMs === undefined ? {} : { idleMs: options.inferenceIdleMs }),
    });

    const running = new Map<string, EdgeFunction>();
    const gateway = startGateway(port, [
      { prefix: "/auth/v1", handle: (request) => auth.fetch(request) },
      { prefix: "/dashboard", handle: (request) => dashboard.fetch(request) },
      { prefix: "/storage/v1", handle: (request) => storage.fetch(request) },
      { prefix: "/runpod/lb", handle: (request) => inference.fetch(request) },
      { prefix: "/runpod", handle: (request) => (options.runpod ?? runpod).fetch(request) },
    ], (name) => running.get(name));
    started.push(gateway, runpod, inference);

    const env = {
      ...marked(home),
      ...denoEnvironment(),
      ...callbackEnvironment(url, database.url, keys),
      TUNEBASE_DASHBOARD_URL: `${url}/dashboard/#`,
      ...options.functionEnv,
    };
    await timed("functions tunebase, tunebase-callback and tunebase-scheduler are up", async () => {
      const functions = await Promise.all(
        ["tunebase", "tunebase-callback", "tunebase-scheduler"].map((name) =>
          startFunction(name, env, join(home, `logs/${name}.log`), { limits })
        ),
      );
      for (const one of functions) running.set(one.name, one);
      started.push(...functions);
    });
    await registerSpeed(sql);
    await registerTokenizer({ url, keys, sql });
    const cron = startCron(
      `${url}/functions/v1/tunebase-scheduler/tick`,
      deriveSchedulerSecret(keys),
      options.cronSeconds ?? 2,
      (line) => log(line),
    );
    started.push(cron);
    return {
      home,
      url,
      dbUrl: database.url,
      keys,
      sql,
      cron,
      workers: runpod.workers,
      inferenceWorkers: inference.workers,
      functionEnv: env,
      runs: runpod.runs,
      pids: async (part) => part === "postgres" ? await database.pids() : running.get(part)?.pids() ?? [],
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Whether all tools of a stack are installed. */
export const installed = (): Promise<boolean> => exists(join(cache, "installed.json"));
