-- Why a job waits, in words that end a sentence; null when it does not.
create function tunebase_internal.wait_reason(p_job tunebase.jobs) returns text
language sql stable set search_path = ''
as $$
  select case
    when p_job.status = 'validating_files' then 'its files are being checked'
    when p_job.status = 'paused' and not p_job.auto_start then 'it waits to be started'
    when p_job.status <> 'queued' then null
    when p_job.status_reason is not null then p_job.status_reason
    when p_job.due_at = 'infinity' then 'the GPU service has it and has not started it yet'
    when p_job.due_at > now() then format('it is tried again in %s s', ceil(extract(epoch from p_job.due_at - now())))
    when p.max_running <= (
      select count(*) from tunebase.attempts where project_id = p_job.project_id and state <> 'ended'
    ) then format('the project has %s running already, the most it may have at once', p.max_running)
    else 'it is about to be sent to the GPU service'
  end
  from tunebase.projects p where p.id = p_job.project_id
$$;
