/** Invariants that hold after any crash (`docs/states.md`): each query finds the rows that violate one. */
import { assertEquals } from "#assert";
import type postgres from "postgres";

const broken: Record<string, string> = {
  "a job or attempt that no timer will reach": `
    select j.id, j.status from tunebase.jobs j
    where j.finished_at is null and j.status <> 'paused'
      and not (j.status = 'queued' and j.due_at < 'infinity')
      and not exists (select from tunebase.attempts a where a.job_id = j.id and a.state <> 'ended' and a.reconcile_at is not null)`,
  "two living attempts of one job": `
    select job_id from tunebase.attempts where state <> 'ended' group by job_id having count(*) > 1`,
  "a gap in a job's events": `
    select j.id, j.last_event, array_agg(e.number order by e.number) as numbers
    from tunebase.jobs j left join tunebase.events e on e.job_id = j.id
    group by j.id, j.last_event
    having count(e.number) <> j.last_event or max(e.number) <> j.last_event or min(e.number) <> 1`,
  "more than one end in a job's events": `
    select job_id from tunebase.events
    where message like 'New fine-tuned model created%' or message like 'The job failed:%' or message like 'The job was cancelled%'
    group by job_id having count(*) > 1`,
  "a cost that is not the sum of the attempts'": `
    select j.id, j.cost_usd from tunebase.jobs j
    where j.cost_usd <> coalesce((select sum(a.cost_usd) from tunebase.attempts a where a.job_id = j.id), 0)`,
  "a job that succeeded without an adapter, or has one and did not": `
    select j.id, j.status from tunebase.jobs j left join tunebase.adapters a on a.job_id = j.id
    where (j.status = 'succeeded') <> (a.id is not null)`,
  "an adapter file whose object does not match the manifest": `
    select a.job_id, f ->> 'path' as path
    from tunebase.adapters a, jsonb_array_elements(a.manifest -> 'files') f
    where a.deleted_at is null and not exists (
      select from storage.objects o
      where o.bucket_id = 'tunebase-adapters' and o.name = a.prefix || '/' || (f ->> 'path')
        and o.metadata ->> 'size' = f ->> 'bytes'
    )`,
  "a file without its bytes": `
    select f.id from tunebase.files f
    where f.deleted_at is null and f.status = 'processed' and f.purpose = 'fine-tune'
      and not exists (select from storage.objects o where o.bucket_id = 'tunebase-datasets' and o.name = f.object)`,
  "a file without its original": `
    select f.id from tunebase.files f
    where f.deleted_at is null and f.original_object is not null
      and not exists (select from storage.objects o where o.bucket_id = 'tunebase-datasets' and o.name = f.original_object)`,
  "an object that belongs to no file and is not queued for removal": `
    select o.name from storage.objects o
    where o.bucket_id = 'tunebase-datasets'
      and not exists (select from tunebase.files f where o.name in (f.object, f.original_object) and f.deleted_at is null)
      and not exists (select from tunebase_internal.upload_parts p where p.object = o.name)
      and not exists (select from tunebase_internal.uploads u where u.object = o.name and u.status = 'pending')
      and not exists (
        select from tunebase_internal.file_validations c
        where c.sources @> jsonb_build_array(jsonb_build_object('object', o.name)) or c.converted_object = o.name
      )
      and not exists (select from tunebase_internal.orphaned_objects g where g.bucket = 'tunebase-datasets' and g.object = o.name)`,
};

/** Fails with the rows of the first violated invariant. */
export async function assertInvariants(sql: postgres.Sql): Promise<void> {
  for (const [what, query] of Object.entries(broken)) {
    assertEquals([...await sql.unsafe(query)], [], what);
  }
}

/** Fails if a (job, attempt) was sent to RunPod twice or has no row. */
export async function assertSentOnce(sql: postgres.Sql, runs: { input: unknown }[]): Promise<void> {
  const sent = runs.map(({ input }) =>
    `${Reflect.get(Object(input), "job_id")} ${Reflect.get(Object(input), "attempt")}`
  );
  assertEquals(sent.filter((one, i) => sent.indexOf(one) !== i), [], "sent to RunPod twice");
  const rows = await sql<{ one: string }[]>`select job_id || ' ' || number as one from tunebase.attempts`;
  const known = new Set(rows.map(({ one }) => one));
  assertEquals(sent.filter((one) => !known.has(one)), [], "sent to RunPod without an attempt");
}
