-- Realtime hints for browsers, where the platform has Realtime: "something of this job has changed", on a private topic
-- a job. A hint carries no more than where to read on; clients re-read by event number. Lost ones do no harm.
create function tunebase_internal.broadcast_job_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Looked up when it runs: plain Postgres has none, and the platform may add it later.
  if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is null then
    return null;
  end if;
  execute 'select realtime.send($1, $2, $3, true)' using
    jsonb_build_object(
      'id', 'ftjob-' || replace(new.id::text, '-', ''), 'status', new.status, 'progress', new.progress,
      'last_event', new.last_event
    ),
    'job', 'tunebase:job:ftjob-' || replace(new.id::text, '-', '');
  return null;
exception when others then
  -- Not noted as a row: while Realtime is down that would be one a report.
  raise warning 'tunebase: no Realtime hint for job %: %', new.id, sqlerrm;
  return null;
end $$;
