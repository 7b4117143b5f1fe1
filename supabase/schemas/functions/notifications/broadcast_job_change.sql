-- Trigger: a Realtime hint that a job changed, on a private topic per job, where the platform has Realtime. Clients re-read
-- by event number, so a lost hint does no harm.
create function tunebase_internal.broadcast_job_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Looked up at run time: plain Postgres has no Realtime, and the platform may add it later.
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
  -- Not logged as a row: while Realtime is down that would be one row per report.
  raise warning 'tunebase: no Realtime hint for job %: %', new.id, sqlerrm;
  return null;
end $$;
