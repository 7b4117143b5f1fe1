/**
 * 10,000 queued jobs of several projects are dispatched at their endpoint's rate limit, the last as fast as the first, under
 * the platform's limits: no job is lost, and no attempt stays ambiguous. The timer runs at the embedded stack's interval,
 * and each tick that has spent its budget wakes the next.
 */
import { platformLimits } from "../local/emulators/functions/limits.ts";
import { join } from "../local/paths.ts";
import { copyJobs } from "../tests/support/job_copies.ts";
import { median, type RawMeasurement, type Size } from "./results.ts";
import { type BenchStack, createJob, startBenchStack, until } from "./harness.ts";

const mostJobs = 10_000;
const shortJobs = 400;
const projects = 20;
/** The default of `tunebase_internal.runpod_endpoints` and RunPod's limit: 1,000 per ten seconds. */
const runPerSecond = 100;

export async function queueDrain(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const jobs = size === "short" ? shortJobs : mostJobs;
  const bench = await startBenchStack({ cronSeconds: 2, limits: platformLimits });
  const { runpod } = bench;
  try {
    await createJob(bench);
    await until("the dispatch of the first job", 10, () => runpod.runs.length === 1);
    const before = runpod.requests.length; // the timer may dispatch the first before the last row is inserted
    await fill(bench, jobs);
    const begin = performance.now();
    const limit = 1.3 * jobs / runPerSecond + (size === "short" ? 30 : 0);
    let out = 0;
    for (let seen = before; out < jobs && (performance.now() - begin) / 1000 < limit;) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      // Counted on arrival, instead of scanning 10,000 bodies each time.
      for (; seen < runpod.requests.length; seen++) {
        out += Number(runpod.requests[seen]?.path.endsWith("/run"));
      }
    }
    const arrivals = runpod.runs.slice(1).map(({ at }) => at);
    const seconds = ((arrivals.at(-1) ?? NaN) - (arrivals[0] ?? NaN)) / 1000;
    const rate = (arrivals.length - 1) / seconds;
    log(
      `${out} of ${jobs} went out in ${seconds.toFixed(1)} s, the first ${
        (((arrivals[0] ?? NaN) - begin) / 1000).toFixed(1)
      } s after they were queued`,
    );
    const [first, last] = await latencies(bench);
    const left = await leftovers(bench, jobs);
    log(
      `${left.lost} lost, ${left.twice} sent twice, ${left.ambiguous} ambiguous; ${await isolates(bench)}`,
    );
    return [{
      value: left.lost + left.twice + left.ambiguous,
      unit: `jobs lost, sent twice, or left ambiguous out of ${jobs}, under the platform's limits`,
      against: "none",
      ratio: left.lost + left.twice + left.ambiguous === 0 ? 1 : 0,
      goal: 1,
    }, {
      value: rate,
      unit: `jobs/s out of ${jobs} queued ones of ${projects} projects`,
      against: `the rate that is set, ${runPerSecond}/s`,
      ratio: out < jobs ? 0 : rate / runPerSecond,
      goal: 0.95,
    }, {
      value: last,
      unit: "ms p50 of claim and submission, last tenth",
      against: `the first tenth, ${first.toFixed(1)} ms`,
      ratio: first / last,
      goal: 1 / 1.3,
    }];
  } finally {
    await bench.close();
  }
}

/** Queues copies of the existing job in bulk, in several projects. */
async function fill({ stack: { sql } }: BenchStack, jobs: number): Promise<void> {
  const made = await sql<{ id: string }[]>`
    insert into tunebase.projects (name, slug, max_running)
    select 'Bench', 'bench-' || n, 1000 from generate_series(1, ${projects}::integer) n
    returning id`;
  await sql`update tunebase_internal.runpod_endpoints set run_per_second = ${runPerSecond}, max_running = null, calls_left = 1`;
  await copyJobs(sql, jobs, made.map(({ id }) => id));
  await sql`analyze`; // as autovacuum does within a minute
}

/** Counts the traces of killed submissions and lost jobs, after pending results are recorded. */
async function leftovers({ stack: { sql }, runpod }: BenchStack, jobs: number): Promise<Leftovers> {
  for (let tries = 0;; tries++) {
    const [row] = await sql<{ ambiguous: number; queued: number }[]>`
      select
        (select count(*) from tunebase.attempts where state in ('submitting', 'submission_unknown'))::integer as ambiguous,
        (select count(*) from tunebase.jobs where status = 'queued' and due_at < 'infinity')::integer as queued`;
    const sent = runpod.runs.map(({ body }) => (body as { input: { job_id: string } }).input.job_id);
    const found = {
      ambiguous: row?.ambiguous ?? NaN,
      lost: jobs + 1 - new Set(sent).size,
      twice: sent.length - new Set(sent).size,
    };
    if ((found.ambiguous === 0 && row?.queued === 0) || tries === 20) return found;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
interface Leftovers {
  /** Attempts that may or may not have been sent. */
  ambiguous: number;
  /** Jobs that were never sent. */
  lost: number;
  /** Runs beyond one for each job. */
  twice: number;
}

/** How many scheduler isolates retired and were killed, from its log. */
async function isolates({ stack: { home } }: BenchStack): Promise<string> {
  const log = await Deno.readTextFile(join(home, "logs/tunebase-scheduler.log"));
  const count = (what: RegExp) => log.match(what)?.length ?? 0;
  return `${count(/^tunebase-scheduler retired after/gm)} isolates retired, ${
    count(/^tunebase-scheduler was killed/gm)
  } were killed`;
}

/**
 * The median milliseconds from claim to the /run response, of the first and of the last tenth of jobs.
 */
async function latencies({ stack: { sql } }: BenchStack): Promise<[number, number]> {
  const rows = await sql<{ ms: number }[]>`
    select extract(epoch from submitted_at - created_at)::float8 * 1000 as ms
    from tunebase.attempts where submitted_at is not null order by created_at offset 1`;
  const times = rows.map(({ ms }) => ms);
  const tenth = Math.floor(times.length / 10);
  return [median(times.slice(0, tenth)), median(times.slice(-tenth))];
}
