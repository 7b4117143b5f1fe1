-- Authorizes an event stream and returns where it begins.
create function tunebase_internal.open_event_stream(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
begin
  return jsonb_build_object('job_id', v_job.id, 'last_event', v_job.last_event, 'final', tunebase_internal.is_terminal(v_job.status));
end $$;
