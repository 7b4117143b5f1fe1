-- Sends Realtime hints to browsers, if the platform has Realtime, on a private topic per job. Clients fetch events by number,
-- so a lost hint does no harm.
create function tunebase_internal.broadcast_job_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Plain Postgres has no Realtime, and must not pay for the block below: it costs a subtransaction.
  if to_regnamespace('realtime') is null then
    return null;
  end if;
  begin
    if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is null then
      return null;
    end if;
    execute 'select realtime.send($1, $2, $3, true)' using
      jsonb_build_object(
        'id', 'ftjob-' || replace(new.id::text, '-', ''), 'status', new.status, 'progress', new.progress,
        'last_event', new.last_event
      ),
      'job', 'tunebase:job:ftjob-' || replace(new.id::text, '-', '');
  exception when others then
    -- Not logged as a row: while Realtime is down, that would be one per report.
    raise warning 'tunebase: no Realtime hint for job %: %', new.id, sqlerrm;
  end;
  return null;
end $$;
