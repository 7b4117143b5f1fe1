create function tunebase_internal.set_job_cancelled(p_job_id uuid, p_level text, p_message text) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.jobs
  set status = 'cancelled', finished_at = now(), due_at = null, estimated_finish = null, status_reason = null,
    pause_requested = false
  where id = p_job_id;
  perform tunebase_internal.add_event(p_job_id, p_level, p_message);
end $$;
