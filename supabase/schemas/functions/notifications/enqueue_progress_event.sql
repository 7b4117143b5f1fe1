-- Writes a progress event where an endpoint wants one, at most as often as the most frequent endpoint of the project does;
-- fan_out_event applies each endpoint's own interval. An update of a job holds its row lock, so there is no race.
create function tunebase_internal.enqueue_progress_event(p_job tunebase.jobs) returns void
language plpgsql set search_path = ''
as $$
declare
  v_seconds integer;
begin
  -- Outside the block below, which costs a subtransaction: most projects have no such endpoint.
  select min(progress_seconds) into v_seconds
  from tunebase.webhook_endpoints
  where project_id = p_job.project_id and enabled and 'fine_tuning.job.progress' = any (event_types);
  if v_seconds is null then
    return;
  end if;
  begin
    if not exists (
      select from tunebase_internal.outbox
      where job_id = p_job.id and type = 'fine_tuning.job.progress'
        and created_at > now() - make_interval(secs => v_seconds)
    ) then
      insert into tunebase_internal.outbox (project_id, job_id, type, data)
      values (p_job.project_id, p_job.id, 'fine_tuning.job.progress', tunebase_internal.job_event_data(p_job));
    end if;
  exception when others then
    -- Without a type: a lost progress event is not worth writing later.
    perform tunebase_internal.log_trigger_failure('enqueue_progress_event', p_job.id, null, sqlerrm);
  end;
end $$;
