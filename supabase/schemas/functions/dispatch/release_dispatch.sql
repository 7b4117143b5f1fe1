-- Releases an attempt that was claimed and certainly not sent, because the scheduler's isolate is about to end. Its job is
-- due again at once, without an event, and the endpoint's token bucket gets its token back.
create function tunebase_internal.release_dispatch(p_attempt_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  perform tunebase_internal.end_attempt(p_attempt_id, 'not_started', p_message => 'It was not sent.');
  update tunebase_internal.runpod_endpoints set calls_left = calls_left + 1 where endpoint_id = v_attempt.endpoint_id;
end $$;
