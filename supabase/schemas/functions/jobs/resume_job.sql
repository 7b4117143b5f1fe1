-- Resumes a paused job, or takes a pause back that has not come about.
create function tunebase_internal.resume_job(p_caller jsonb, p_job_id uuid) returns jsonb
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
  elsif v_job.status = 'paused' then
    perform tunebase_internal.requeue_job(p_job_id, 0);
    -- An attempt that was sent before the pause is on its way out; the next one waits for its end.
    update tunebase.jobs set due_at = 'infinity', failed_attempts = 0
    where id = p_job_id and exists (select from tunebase.attempts where job_id = p_job_id and state <> 'ended');
    perform tunebase_internal.add_event(p_job_id, 'info', 'The job was resumed; it is queued for a GPU.');
  elsif v_job.pause_requested then
    update tunebase.jobs set pause_requested = false where id = p_job_id;
    perform tunebase_internal.add_event(p_job_id, 'info', 'The pause was taken back.');
  else
    perform tunebase_internal.raise_api_error('job_not_paused', jsonb_build_object('status', v_job.status));
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;
