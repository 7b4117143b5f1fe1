-- Trigger: enqueues a progress event where an endpoint subscribes to it, at most as often as the project's most frequent
-- endpoint asks; fan_out_event applies each endpoint's own interval. The updating transaction holds the job's row: no race.
create function tunebase_internal.enqueue_progress_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_seconds integer;
begin
  select min(progress_seconds) into v_seconds
  from tunebase.webhook_endpoints
  where project_id = new.project_id and enabled and 'fine_tuning.job.progress' = any (event_types);
  if v_seconds is null then
    return null;
  end if;
  if not exists (
    select from tunebase_internal.outbox
    where job_id = new.id and type = 'fine_tuning.job.progress'
      and created_at > now() - make_interval(secs => v_seconds)
  ) then
    -- Not through enqueue_event: a lost progress event is not worth repairing.
    insert into tunebase_internal.outbox (project_id, job_id, type, data)
    values (new.project_id, new.id, 'fine_tuning.job.progress', tunebase_internal.job_event_data(new));
  end if;
  return null;
exception when others then
  perform tunebase_internal.log_trigger_failure(tg_name, new.id, null, sqlerrm);
  return null;
end $$;
