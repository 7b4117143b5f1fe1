/** Queues jobs in bulk: through the API it would take minutes. */
import type postgres from "postgres";

/**
 * Queues `count` copies of the newest unstarted job, equally many per project, due in mixed order. Postgres computes
 * generated columns.
 */
export async function copyJobs(sql: postgres.Sql, count: number, projectIds: string[]): Promise<void> {
  const columns = await sql<{ name: string }[]>`
    select attname as name from pg_attribute
    where attrelid = 'tunebase.jobs'::regclass and attnum > 0 and not attisdropped and attgenerated = ''
    order by attnum`;
  const list = (prefix: string) => sql.unsafe(columns.map(({ name }) => `${prefix}"${name}"`).join(", "));
  // One function call per row: `(f()).*` would call it for every column.
  await sql`
    insert into tunebase.jobs (${list("")})
    select ${list("copy.")}
    from (select * from tunebase.jobs where status = 'queued' and started_at is null order by id desc limit 1) j
    cross join unnest(${projectIds}::uuid[]) p
    cross join generate_series(1, ${Math.ceil(count / projectIds.length)}::integer) n
    cross join lateral jsonb_populate_record(null::tunebase.jobs, to_jsonb(j) || jsonb_build_object(
      'id', tunebase_internal.uuid7(), 'project_id', p, 'status', 'queued', 'due_at', now() + interval '1 ms' * random(),
      'started_at', null, 'seed', n
    )) copy`;
}
