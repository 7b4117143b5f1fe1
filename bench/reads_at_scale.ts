/**
 * Client reads and scheduler claims with 1,000,000 jobs and 20,000,000 metrics, compared with 1,000 and 20,000, in
 * alternating calls: latency must not grow with the data. Also checks that no call scans a whole table.
 */
import * as z from "zod";
import { connect, type Database } from "../supabase/functions/_shared/database/connect.ts";
import { rpc } from "../supabase/functions/_shared/database/rpc.ts";
import { type TestDatabase, testDatabase } from "../tests/support/database.ts";
import { percentile, type RawMeasurement, type Size } from "./results.ts";
import { startBenchPostgres } from "./harness.ts";

interface Sizes {
  /** The two databases. In both, a project has more jobs than one page of any list. */
  small: { jobs: number; projects: number };
  large: { jobs: number; projects: number };
  queued: number;
  metricsPerJob: number;
  /** Metrics of the one long job, for its chart. */
  longRun: number;
  rounds: number;
  /** For slow calls and those that consume their rows. */
  fewRounds: Record<string, number>;
}
const sizes: Record<Size, Sizes> = {
  full: {
    small: { jobs: 1000, projects: 2 },
    large: { jobs: 1_000_000, projects: 200 },
    queued: 300,
    metricsPerJob: 20,
    longRun: 100_000,
    // The p99 of 500 calls is its five slowest, which varied more between runs than the effect measured.
    rounds: 3000,
    fewRounds: { metrics: 60, claim: 500 },
  },
  short: {
    small: { jobs: 100, projects: 2 },
    large: { jobs: 200, projects: 4 },
    queued: 10,
    metricsPerJob: 2,
    longRun: 1000,
    rounds: 2,
    fewRounds: {},
  },
};
const most = 1.3;
const model = "SmolLM2-135M-Instruct";

interface Side {
  database: TestDatabase;
  api: Database;
  scheduler: Database;
  caller: { key_hash: string };
  jobs: string[];
  longJob: string;
}

export async function readsAtScale(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { small, large, rounds, fewRounds } = sizes[size];
  const server = await startBenchPostgres("bench-reads", size);
  const sides: Side[] = [];
  try {
    for (const database of [small, large]) {
      const begin = performance.now();
      sides.push(await fill(database, sizes[size]));
      log(`${database.jobs} jobs in ${((performance.now() - begin) / 1000).toFixed(0)} s`);
    }
    const [few, many] = sides;
    if (few === undefined || many === undefined) throw new Error("two sides");
    const pick = <T>(list: T[]): T => list[Math.floor(Math.random() * list.length)] as T;
    const list = ({ api, caller }: Side, after: string | null, filter: object) =>
      rpc(api, "list_jobs", { caller, after, limit: 20, filter }, z.unknown());
    const calls: Record<string, (side: Side) => Promise<unknown>> = {
      list: (side) => list(side, null, {}),
      "list by status": (side) => list(side, null, { status: "failed" }),
      "list by metadata": (side) => list(side, null, { metadata: { n: "7" } }),
      "list, a later page": (side) => list(side, pick(side.jobs), {}),
      get: ({ api, caller, jobs }) => rpc(api, "get_job", { caller, job_id: pick(jobs) }, z.unknown()),
      events: ({ api, caller, jobs }) =>
        rpc(api, "list_events", { caller, job_id: pick(jobs), after: null, limit: 20 }, z.unknown()),
      metrics: ({ api, caller, longJob }) =>
        rpc(
          api,
          "get_job_metrics",
          { caller, job_id: longJob, points: 500, from_step: null, to_step: null },
          z.unknown(),
        ),
      claim: ({ scheduler }) =>
        rpc(
          scheduler,
          "claim_dispatch",
          { default_endpoint: "local", lease_seconds: 60, limit: 1 },
          z.unknown(),
        ),
    };
    const found: RawMeasurement[] = [];
    for (const [name, run] of Object.entries(calls)) {
      const times: [number[], number[]] = [[], []];
      const turns = fewRounds[name] ?? rounds;
      await run(few);
      await run(many);
      const before = size === "full" ? await wholeReads(many) : [];
      for (let turn = 0; turn < turns; turn++) {
        for (const [place, side] of [few, many].entries()) {
          const begin = performance.now();
          await run(side);
          times[place]?.push(performance.now() - begin);
        }
      }
      // Scanning a small table is fine.
      const read = size === "full" ? await wholeReads(many, before) : [];
      if (read.length > 0) throw new Error(`${name} reads whole tables: ${read.join(", ")}`);
      const [small99, large99] = [percentile(times[0], 0.99), percentile(times[1], 0.99)];
      log(
        `${name}: p50 ${percentile(times[0], 0.5).toFixed(2)} and ${
          percentile(times[1], 0.5).toFixed(2)
        } ms, ` +
          `p99 ${small99.toFixed(2)} and ${large99.toFixed(2)} ms`,
      );
      found.push({
        value: large99,
        unit: `ms p99 of ${name} among ${large.jobs} jobs`,
        against: `${most} times the same among ${small.jobs}, ${small99.toFixed(2)} ms`,
        ratio: most * small99 / large99,
        goal: 1,
      });
    }
    return found;
  } finally {
    for (const { database, api, scheduler } of sides) {
      await Promise.all([api.close(), scheduler.close()]);
      await database.close();
    }
    await server.stop();
  }
}

/** Rows read by sequential scans, per growing table. */
async function wholeReads({ database: { sql }, api, scheduler }: Side, before?: string[]): Promise<string[]> {
  // Postgres reports statistics after a session's transaction, at most once per second.
  for (const session of [api, scheduler]) await session.value("select pg_stat_force_next_flush()", []);
  await sql`select pg_stat_force_next_flush()`;
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const rows = await sql<{ line: string }[]>`
    select relname || ' ' || coalesce(seq_tup_read, 0) as line from pg_stat_user_tables
    where relname in ('jobs', 'metrics', 'events', 'attempts') order by relname`;
  const now = rows.map(({ line }) => line);
  return before === undefined ? now : now.filter((line) => !before.includes(line));
}

/** Creates a database of `jobs` in many projects, nearly all ended; returns the first project's key and some jobs. */
async function fill({ jobs: count, projects }: Sizes["large"], sizes: Sizes): Promise<Side> {
  const { queued, metricsPerJob, longRun } = sizes;
  const database = await testDatabase();
  const { sql } = database;
  const hash = "ab".repeat(32);
  // Skips triggers and foreign keys, which are not measured.
  await sql.begin(async (load) => {
    await load`set local session_replication_role = replica`;
    await load`set local synchronous_commit = off`;
    await load`
      insert into tunebase.projects (id, name, slug, max_running)
      select tunebase_internal.uuid7(), 'Bench', 'bench-' || n, 1000 from generate_series(1, ${projects}::integer) n`;
    // Keys of a project without members are rejected.
    await load`
      with owner as (insert into auth.users (id, email) values (gen_random_uuid(), 'bench@example.com') returning id)
      insert into tunebase.project_members (project_id, user_id, role)
      select p.id, owner.id, 'owner' from tunebase.projects p, owner where p.slug like 'bench-%'`;
    const [project] = await load<{ id: string }[]>`select id from tunebase.projects where slug = 'bench-1'`;
    await load`
      select tunebase_internal.store_first_api_key(${
      project?.id ?? ""
    }, 'bench', tunebase_internal.scopes(), decode(${hash}, 'hex'), 'tb_…', null)`;
    await load`
      insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, object, report)
      select tunebase_internal.uuid7(), id, 'rows.jsonl', 'fine-tune', 1, repeat('a', 64), 'processed', 'x' || id, '{}' from tunebase.projects`;
    await load`
      insert into tunebase.jobs (
        id, project_id, base_model, training_file, hyperparameters, plan, seed, metadata, status, due_at, queued_at,
        started_at, finished_at, cost_usd, created_by, error_code, fine_tuned_model
      )
      select tunebase_internal.uuid7(), p.id, ${model}, p.file, '{"n_epochs": 3}', '{}', n, jsonb_build_object('n', (n / ${projects}::integer % 20)::text),
        case when n / ${projects}::integer % 10 = 0 then 'failed' else 'succeeded' end, 'infinity', now(), now(), now(), 1, 'api_key',
        case when n / ${projects}::integer % 10 = 0 then 'internal_error' end, case when n / ${projects}::integer % 10 <> 0 then 'ft:bench:' || n end
      from generate_series(1, ${count}::integer) n
      join (
        select p.id, f.id as file, row_number() over () as place
        from tunebase.projects p join tunebase.files f on f.project_id = p.id where p.slug like 'bench-%'
      ) p on p.place = 1 + n % ${projects}::integer`;
    await load`
      insert into tunebase_internal.job_metadata (project_id, pair, job_id)
      select project_id, unnest(tunebase_internal.metadata_pairs(metadata)), id from tunebase.jobs`;
    // A queue to claim from, of the same length and number of projects on both sides.
    await load`
      update tunebase.jobs set status = 'queued', due_at = now(), finished_at = null, started_at = null,
        error_code = null, fine_tuned_model = null
      where id in (
        select j.id from tunebase.jobs j join tunebase.projects p on p.id = j.project_id
        where p.slug in ('bench-1', 'bench-2') order by j.id desc limit ${queued}
      )`;
    await load`
      insert into tunebase.attempts (
        job_id, project_id, number, state, outcome, endpoint_id, gpu_config, execution_timeout_seconds, ttl_seconds,
        claim_deadline, started_at, ended_at
      )
      select id, project_id, 1, 'ended', 'succeeded', 'local', '{}', 1, 1, now(), now(), now()
      from tunebase.jobs where status <> 'queued'`;
    await load`
      insert into tunebase.metrics (job_id, project_id, attempt, step, epoch, training_loss, learning_rate, gradient_norm, tokens_per_second)
      select j.id, j.project_id, 1, step, step / 10.0, 2 - step / 20.0, 0.0001, 1, 1000
      from tunebase.jobs j, generate_series(1, ${metricsPerJob}::integer) step`;
    await load`
      insert into tunebase.events (id, job_id, project_id, number, level, message, type)
      select tunebase_internal.uuid7(), j.id, j.project_id, 1, 'info', 'Created fine-tuning job.', 'message' from tunebase.jobs j`;
  });
  const [{ id: longJob } = { id: "" }] = await sql<{ id: string }[]>`
    select j.id from tunebase.jobs j join tunebase.projects p on p.id = j.project_id
    where p.slug = 'bench-1' and j.status = 'succeeded' order by j.id limit 1`;
  await sql.begin(async (load) => {
    await load`set local session_replication_role = replica`;
    await load`delete from tunebase.metrics where job_id = ${longJob}`;
    await load`
      insert into tunebase.metrics (job_id, project_id, attempt, step, epoch, training_loss, learning_rate, gradient_norm, tokens_per_second)
      select j.id, j.project_id, 1, step, step / 1000.0, 2 + sin(step), 0.0001, 1, 1000
      from tunebase.jobs j, generate_series(1, ${longRun}::integer) step where j.id = ${longJob}`;
  });
  await sql.unsafe("vacuum analyze"); // as autovacuum does eventually
  await sql.unsafe("checkpoint");
  const jobs = await sql<{ id: string }[]>`
    select j.id from tunebase.jobs j join tunebase.projects p on p.id = j.project_id
    where p.slug = 'bench-1' order by j.id limit 1000`;
  return {
    database,
    api: connect(database.url("tunebase_api")),
    scheduler: connect(database.url("tunebase_scheduler")),
    caller: { key_hash: hash },
    jobs: jobs.map(({ id }) => id),
    longJob,
  };
}
