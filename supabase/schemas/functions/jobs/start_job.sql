-- Starts a job that was created with auto_start false. A repeated call changes nothing.
create function tunebase_internal.start_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.lock_job(p_caller, p_job_id);
begin
  if v_job.status = 'validating_files' then
    -- It is queued as soon as its files are valid.
    update tunebase.jobs set auto_start = true where id = p_job_id;
  elsif v_job.status = 'paused' and not v_job.auto_start then
    perform tunebase_internal.unpause_job(p_job_id, 'The job was started; it is queued for a GPU.');
  elsif v_job.status = 'paused' or v_job.pause_requested then
    perform tunebase_internal.raise_api_error('job_already_started');
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;
