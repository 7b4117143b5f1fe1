-- The directive for the holder of an attempt; `stop` for any other worker. Call it with the attempt locked. plpgsql, because
-- it caches its plan: as language sql it took 0.2 ms.
create function tunebase_internal.worker_directive(p_attempt tunebase.attempts, p_worker_id text, p_fence integer) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_status text;
  v_pause_requested boolean;
begin
  if p_attempt.id is null or p_attempt.state <> 'running' or p_attempt.fence <> p_fence
    or p_attempt.worker_id <> p_worker_id then
    return 'stop';
  end if;
  select status, pause_requested into v_status, v_pause_requested from tunebase.jobs where id = p_attempt.job_id;
  return case
    when p_attempt.cancel_requested or tunebase_internal.is_terminal(v_status) then 'cancel'
    when v_pause_requested then 'pause'
    else 'continue'
  end;
end $$;
