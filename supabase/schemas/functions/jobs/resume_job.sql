-- Resumes a paused job (or one that is waiting to be started), or cancels a pause request.
create function tunebase_internal.resume_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.lock_job(p_caller, p_job_id);
begin
  if v_job.status = 'paused' then
    perform tunebase_internal.unpause_job(p_job_id, 'The job was resumed; it is queued for a GPU.');
  elsif v_job.pause_requested then
    update tunebase.jobs set pause_requested = false where id = p_job_id;
    perform tunebase_internal.add_event(p_job_id, 'info', 'Pause request cancelled.');
  else
    perform tunebase_internal.raise_api_error('job_not_paused', jsonb_build_object('status', v_job.status));
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;
