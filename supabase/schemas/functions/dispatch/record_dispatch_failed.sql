-- RunPod rejected /run for good: the configuration is wrong, and a retry would not help.
create function tunebase_internal.record_dispatch_failed(p_attempt_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  perform tunebase_internal.end_attempt(
    p_attempt_id, 'refused', 'operator', 'configuration', p_reason,
    'The operator of this service must check RUNPOD_API_KEY, the endpoint and its balance.'
  );
  perform tunebase_internal.raise_alert('run_refused', v_attempt.endpoint_id, p_reason);
end $$;
