-- Queues a paused job again and resets its failed attempts. From now on it starts automatically.
create function tunebase_internal.unpause_job(p_job_id uuid, p_message text) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.jobs set auto_start = true, failed_attempts = 0 where id = p_job_id;
  if tunebase_internal.enqueue_job(p_job_id) = 'queued' then
    perform tunebase_internal.add_event(p_job_id, 'info', p_message);
    perform tunebase_internal.wake_scheduler();
  else
    perform tunebase_internal.add_event(p_job_id, 'info', tunebase_internal.waiting_message('validating_files'));
  end if;
end $$;
