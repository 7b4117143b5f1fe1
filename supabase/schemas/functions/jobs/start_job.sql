-- Starts a job that was created with auto_start false. Again, it changes nothing.
create function tunebase_internal.start_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('job_not_found');
  elsif tunebase_internal.is_terminal(v_job.status) then
    perform tunebase_internal.raise_api_error('job_already_finished', jsonb_build_object('status', v_job.status));
  elsif v_job.status = 'validating_files' then
    -- It is queued as soon as its files have been checked.
    update tunebase.jobs set auto_start = true where id = p_job_id;
  elsif v_job.status = 'paused' and not v_job.auto_start then
    perform tunebase_internal.requeue_job(p_job_id, 0);
    perform tunebase_internal.add_event(p_job_id, 'info', 'The job was started; it is queued for a GPU.');
  elsif v_job.status = 'paused' or v_job.pause_requested then
    perform tunebase_internal.raise_api_error('job_already_started');
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;
