create function tunebase_internal.fail_job(
  p_job_id uuid, p_code text, p_message text, p_hint text, p_param text default null
) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.jobs
  set status = 'failed', finished_at = now(), due_at = null, estimated_finish = null, status_reason = null,
    pause_requested = false, error_code = p_code, error_message = p_message, error_hint = nullif(p_hint, ''),
    error_param = p_param
  where id = p_job_id and not tunebase_internal.is_terminal(status);
  if found then
    perform tunebase_internal.add_event(p_job_id, 'error', concat_ws(' ', 'The job failed: ' || p_message, nullif(p_hint, '')));
  end if;
end $$;
