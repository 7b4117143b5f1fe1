-- Writes one event of a job to the outbox. A failure is logged, and fan_out_events writes the event later.
create function tunebase_internal.enqueue_event(p_job tunebase.jobs, p_type text, p_more jsonb default '{}') returns void
language plpgsql security definer set search_path = ''
as $$
begin
  insert into tunebase_internal.outbox (project_id, job_id, type, data)
  values (p_job.project_id, p_job.id, p_type, tunebase_internal.job_event_data(p_job) || p_more);
exception when others then
  perform tunebase_internal.log_trigger_failure('enqueue_event', p_job.id, p_type, sqlerrm);
end $$;
