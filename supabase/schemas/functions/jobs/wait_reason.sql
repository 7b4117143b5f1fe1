-- Why a job is waiting, as the end of a sentence; null if it is not waiting.
create function tunebase_internal.wait_reason(p_job tunebase.jobs) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_limit integer;
begin
  if p_job.status = 'validating_files' then
    return 'its files are being validated';
  elsif p_job.status = 'paused' and not p_job.auto_start then
    return 'it is waiting to be started';
  elsif p_job.status <> 'queued' then
    return null;
  elsif p_job.status_reason is not null then
    return p_job.status_reason;
  elsif p_job.due_at = 'infinity' then
    return 'the GPU service has not started it yet';
  elsif p_job.due_at > now() then
    return format('it will be retried in %s s', ceil(extract(epoch from p_job.due_at - now())));
  end if;
  select max_running into v_limit from tunebase.projects
  where id = p_job.project_id and max_running <= (
    select count(*) from tunebase.attempts where project_id = p_job.project_id and state <> 'ended'
  );
  if found then
    return format('the project has reached its limit of %s concurrent jobs', v_limit);
  end if;
  return 'it is about to be sent to the GPU service';
end $$;
