/**
 * 10,000 queued jobs of several projects go out at the rate that is set for their endpoint, and the last as quickly as the
 * first. The timer alone drives it, at the embedded stack's interval; nothing nudges.
 */
import { type Measured, median } from "./figures.ts";
import { createJob, type Stand, startStand, until } from "./stand.ts";

const jobs = 10_000;
const projects = 20;
/** What `tunebase_internal.runpod_endpoints` has by default, and RunPod takes: 1,000 in ten seconds. */
const runPerSecond = 100;

export async function queueDrain(log: (line: string) => void): Promise<Measured[]> {
  const stand = await startStand({ cronSeconds: 2 });
  const { runpod } = stand;
  try {
    await createJob(stand);
    await until("the dispatch of the first job", 10, () => runpod.runs.length === 1);
    const before = runpod.asked.length; // the timer may send the first before the last row is in
    await fill(stand);
    const begin = performance.now();
    const limit = 1.3 * jobs / runPerSecond;
    let out = 0;
    for (let seen = before; out < jobs && (performance.now() - begin) / 1000 < limit;) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      // Counted as they come: 10,000 bodies need not be gone through each time.
      for (; seen < runpod.asked.length; seen++) out += Number(runpod.asked[seen]?.path.endsWith("/run"));
    }
    const arrivals = runpod.runs.slice(1).map(({ at }) => at);
    const seconds = ((arrivals.at(-1) ?? NaN) - (arrivals[0] ?? NaN)) / 1000;
    const rate = (arrivals.length - 1) / seconds;
    log(
      `${out} of ${jobs} went out in ${seconds.toFixed(1)} s, the first ${
        (((arrivals[0] ?? NaN) - begin) / 1000).toFixed(1)
      } s after they were queued`,
    );
    const [first, last] = await latencies(stand);
    return [{
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
    await stand.close();
  }
}

/** Queues them in bulk: copies of the one job there is, in projects of their own, due in a mixed order. */
async function fill({ stack: { sql } }: Stand): Promise<void> {
  await sql`
    insert into tunebase.projects (name, slug, max_running)
    select 'Bench', 'bench-' || n, 1000 from generate_series(1, ${projects}::integer) n`;
  await sql`update tunebase_internal.runpod_endpoints set run_per_second = ${runPerSecond}, max_running = null, calls_left = 1`;
  // A row's function once a row: `(f()).*` would call it for every column.
  await sql`
    insert into tunebase.jobs
    select copy.*
    from (select * from tunebase.jobs limit 1) j
    cross join (select id from tunebase.projects where slug like 'bench-%') p
    cross join generate_series(1, ${jobs / projects}::integer) n
    cross join lateral jsonb_populate_record(null::tunebase.jobs, to_jsonb(j) || jsonb_build_object(
      'id', tunebase_internal.uuid7(), 'project_id', p.id, 'status', 'queued', 'due_at', now() + interval '1 ms' * random(),
      'started_at', null, 'seed', n
    )) copy`;
  await sql`analyze`; // as autovacuum does within a minute
}

/**
 * The median from a claim's beginning to the moment that its /run was answered, in milliseconds: of the first tenth and
 * of the last.
 */
async function latencies({ stack: { sql } }: Stand): Promise<[number, number]> {
  const rows = await sql<{ ms: number }[]>`
    select extract(epoch from submitted_at - created_at)::float8 * 1000 as ms
    from tunebase.attempts where submitted_at is not null order by created_at offset 1`;
  const times = rows.map(({ ms }) => ms);
  const tenth = Math.floor(times.length / 10);
  return [median(times.slice(0, tenth)), median(times.slice(-tenth))];
}
