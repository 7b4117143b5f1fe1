-- Cancels at once; the attempt on the GPU ends when RunPod or the worker confirms it, or its time is out.
create function tunebase_internal.cancel_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('job_not_found');
  end if;
  if tunebase_internal.is_terminal(v_job.status) then
    perform tunebase_internal.raise_api_error('job_already_finished', jsonb_build_object('status', v_job.status));
  end if;
  perform tunebase_internal.set_job_cancelled(p_job_id, 'info', 'The job was cancelled on request.');
  perform tunebase_internal.request_attempt_cancellation(p_job_id);
  return tunebase_internal.job_json(p_job_id);
end $$;
