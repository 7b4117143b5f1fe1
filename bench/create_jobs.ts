/**
 * POST /fine_tuning/jobs per second, compared with pgbench calling the same two SQL functions and with pgbench inserting
 * the same rows into copies of the tables without triggers and foreign keys, and the spread of its latency. Measures only
 * the API's process: a server in the scheduler's place receives its wake-ups.
 */
import { startFunction } from "../local/emulators/functions/mod.ts";
import { join } from "../local/paths.ts";
import { median, percentile, type RawMeasurement, type Size } from "./results.ts";
import { Answers, writeAll } from "./load.ts";
import { findPgbench, runPgbench } from "./pgbench.ts";
import { type BenchStack, createJob, startBenchStack } from "./harness.ts";

const connections = 4;
const clients = 8;
const sizes = {
  full: { warmupSeconds: 2, roundSeconds: 4, rounds: 5 },
  short: { warmupSeconds: 0.05, roundSeconds: 0.2, rounds: 1 },
};
/** A tick that dispatches one job (dispatch_latency). The API's next wake-up waits for it. */
const tickMs = 15;
const model = "SmolLM2-135M-Instruct";

export async function createJobs(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { warmupSeconds, roundSeconds, rounds } = sizes[size];
  const program = await findPgbench(log);
  const bench = await startBenchStack({ cronSeconds: 3600 });
  const sink = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async () => {
      await new Promise((resolve) => setTimeout(resolve, tickMs));
      return Response.json({});
    },
  );
  try {
    // The first create counts the file's tokens, which are cached.
    await createJob(bench);
    const { functionEnv, home } = bench.stack;
    const edge = await startFunction(
      "tunebase",
      { ...functionEnv, SUPABASE_URL: `http://127.0.0.1:${sink.addr.port}` },
      join(home, "logs/bench-api.log"),
    );
    try {
      const peer = {
        program,
        url: functionEnv.TUNEBASE_API_DB_URL ?? "",
        connections,
        script: await script(bench),
        seconds: roundSeconds,
      };
      const bare = { ...peer, url: bench.stack.dbUrl, script: await bareInserts(bench) };
      const request = post(bench, edge.port);
      await send(edge.port, request, warmupSeconds);
      const pairs: { ours: number; theirs: number; inserts: number; ms: number[] }[] = [];
      for (let round = 1; round <= rounds; round++) {
        const theirs = await runPgbench(peer);
        const ms = await send(edge.port, request, roundSeconds);
        const inserts = await runPgbench(bare);
        pairs.push({ ours: ms.length / roundSeconds, theirs, inserts, ms });
        log(
          `round ${round}: ${(ms.length / roundSeconds).toFixed(0)} jobs/s, pgbench ${
            theirs.toFixed(0)
          }/s, ` +
            `bare inserts ${inserts.toFixed(0)}/s`,
        );
      }
      const [p50, p99] = [0.5, 0.99].map((share) => median(pairs.map(({ ms }) => percentile(ms, share))));
      const theirs = median(pairs.map(({ theirs }) => theirs));
      return [{
        value: median(pairs.map(({ ours }) => ours)),
        unit: "jobs/s created over HTTP",
        against: `pgbench calling get_estimate_inputs and create_job over ${connections} connections, ${
          theirs.toFixed(0)
        }/s`,
        ratio: median(pairs.map(({ ours, theirs }) => ours / theirs)),
        goal: 0.6,
      }, {
        value: median(pairs.map(({ ours }) => ours)),
        unit: "jobs/s created over HTTP, against bare inserts",
        against: `pgbench inserting the same rows over ${connections} connections, ${
          median(pairs.map(({ inserts }) => inserts)).toFixed(0)
        }/s`,
        ratio: median(pairs.map(({ ours, inserts }) => ours / inserts)),
        goal: 0.25,
      }, {
        value: p99 ?? NaN,
        unit: `ms p99 of ${clients} clients at once`,
        against: `3 times the p50, ${p50?.toFixed(1)} ms`,
        ratio: 3 * (p50 ?? NaN) / (p99 ?? NaN),
        goal: 1,
      }];
    } finally {
      await edge.stop();
    }
  } finally {
    await sink.shutdown();
    await bench.close();
  }
}

function post({ openai, fileId }: BenchStack, port: number): Uint8Array {
  const body = JSON.stringify({ model, training_file: fileId });
  return new TextEncoder().encode(
    `POST /tunebase/fine_tuning/jobs HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: Bearer ${openai.apiKey}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}

/** Each client sends requests sequentially for `seconds`; returns the milliseconds of each. */
async function send(port: number, request: Uint8Array, seconds: number): Promise<number[]> {
  const end = performance.now() + seconds * 1000;
  const times = await Promise.all(Array.from({ length: clients }, async () => {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    connection.setNoDelay();
    const answers = new Answers(connection);
    const ms: number[] = [];
    while (performance.now() < end) {
      const begin = performance.now();
      await writeAll(connection, request);
      const { status, body } = await answers.next();
      if (status !== 200) throw new Error(`a create was answered ${status} ${body()}`);
      ms.push(performance.now() - begin);
    }
    return ms;
  }));
  return times.flat();
}

/** The SQL calls of the API for one job, with the arguments of an existing job. */
async function script({ stack: { sql } }: BenchStack): Promise<string> {
  const [row] = await sql<{ text: string }[]>`
    select format(
      'select tunebase_internal.get_estimate_inputs(%L, %L, %L, null);' || e'\\n' || 'select tunebase_internal.create_job(%L, %L);' || e'\\n',
      c.caller, j.base_model, j.training_file,
      c.caller || jsonb_build_object('request', jsonb_build_object('key_hash', null, 'hash', repeat('0', 64), 'is_retry', false)),
      jsonb_build_object(
        'base_model', j.base_model, 'parent_model', null, 'training_file', j.training_file, 'validation_file', null,
        'hyperparameters', j.hyperparameters, 'plan', j.plan, 'suffix', null, 'seed', j.seed, 'metadata', j.metadata,
        'spend_cap_usd', null, 'auto_start', true, 'estimate', j.estimate, 'created_by', 'api_key'
      )
    ) as text
    from tunebase.jobs j, lateral (
      select jsonb_build_object('key_hash', encode(k.hash, 'hex')) as caller from tunebase_internal.api_key_hashes k limit 1
    ) c limit 1`;
  if (row === undefined) throw new Error("there is no job");
  return row.text;
}

/** Inserts the rows of an existing job and its events into copies of the tables, with their indexes and nothing else. */
async function bareInserts({ stack: { sql } }: BenchStack): Promise<string> {
  await sql.unsafe(`
    create schema bare;
    create table bare.jobs (like tunebase.jobs including all excluding identity);
    create table bare.events (like tunebase.events including all excluding identity);
    create table bare.job as select * from tunebase.jobs limit 1;
    create table bare.job_events as select e.* from tunebase.events e join bare.job on e.job_id = job.id;`);
  const columns = async (table: string) => {
    const rows = await sql<{ name: string }[]>`
      select column_name as name from information_schema.columns
      where table_schema = 'bare' and table_name = ${table} and is_generated = 'NEVER' order by ordinal_position`;
    return rows.map(({ name }) => name);
  };
  const job = await columns("jobs"), event = await columns("events");
  const unique: Record<string, string> = { fine_tuned_model: "null" };
  return `with job as (insert into bare.jobs (${job}) select ${
    job.map((name) => name === "id" ? "tunebase_internal.uuid7()" : unique[name] ?? name)
  } from bare.job returning id)
insert into bare.events (${event}) select ${
    event.map((name) =>
      name === "id" ? "tunebase_internal.uuid7()" : name === "job_id" ? "job.id" : `e.${name}`
    )
  } from job, bare.job_events e;
`;
}
