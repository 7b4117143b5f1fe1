-- Pauses at once while no worker has claimed the job; otherwise the worker's next directive is to save a checkpoint and
-- stop. A repeated call changes nothing.
create function tunebase_internal.pause_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.lock_job(p_caller, p_job_id);
begin
  if v_job.status = 'running' and not v_job.pause_requested then
    update tunebase.jobs set pause_requested = true where id = p_job_id;
    perform tunebase_internal.add_event(p_job_id, 'info', 'Pause requested. The trainer will save a checkpoint and stop.');
  elsif v_job.status in ('queued', 'validating_files') then
    perform tunebase_internal.set_job_paused(p_job_id);
    perform tunebase_internal.request_attempt_cancellation(p_job_id);
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;
