-- Realtime hints for browsers, where the platform has Realtime: "something of this job has changed", on a private topic
-- a job. A hint carries no more than where to read on; clients re-read by event number. Lost ones do no harm.

create function tunebase.hint_realtime() returns trigger
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
    'job', 'job:ftjob-' || replace(new.id::text, '-', '');
  return null;
exception when others then
  -- Not noted as a row: while Realtime is down that would be one a report.
  raise warning 'tunebase: no Realtime hint for job %: %', new.id, sqlerrm;
  return null;
end $$;

create trigger tunebase_hint_realtime after update of status, last_event on public.jobs
for each row
when (new.status is distinct from old.status or new.last_event > old.last_event)
execute function tunebase.hint_realtime();

-- Members may join the topics of their projects' jobs.
do $$
begin
  if to_regclass('realtime.messages') is not null and to_regprocedure('realtime.topic()') is not null then
    execute $policy$
      create policy tunebase_members_hear on realtime.messages for select to authenticated
      using (exists (
        select from public.jobs j
        where realtime.topic() = 'job:ftjob-' || replace(j.id::text, '-', '')
          and j.project_id in (select tunebase.my_projects())
      ))
    $policy$;
  end if;
exception when others then
  raise warning 'tunebase: members cannot join Realtime topics: %', sqlerrm;
end $$;
