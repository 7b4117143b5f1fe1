-- Locks a job that the caller wants to change. Raises job_not_found or job_already_finished. Locks the job's files first:
-- otherwise, a resume and the end of a validation could deadlock.
create function tunebase_internal.lock_job(p_caller jsonb, p_job_id uuid) returns tunebase.jobs
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id;
  perform tunebase_internal.lock_unvalidated_files(v_job.training_file, v_job.validation_file);
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('job_not_found');
  elsif tunebase_internal.is_terminal(v_job.status) then
    perform tunebase_internal.raise_api_error('job_already_finished', jsonb_build_object('status', v_job.status));
  end if;
  return v_job;
end $$;
