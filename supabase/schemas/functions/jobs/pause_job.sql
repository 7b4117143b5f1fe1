-- Pauses: at once while no worker has it; a worker is ordered to save a checkpoint and stop. Again, it changes nothing.
create function tunebase_internal.pause_job(p_caller jsonb, p_job_id uuid) returns jsonb
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
  elsif v_job.status = 'running' and not v_job.pause_requested then
    update tunebase.jobs set pause_requested = true where id = p_job_id;
    perform tunebase_internal.add_event(p_job_id, 'info', 'A pause was asked for; the trainer saves a checkpoint and stops.');
  elsif v_job.status in ('queued', 'validating_files') then
    perform tunebase_internal.set_job_paused(p_job_id);
    perform tunebase_internal.request_attempt_cancellation(p_job_id);
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;
