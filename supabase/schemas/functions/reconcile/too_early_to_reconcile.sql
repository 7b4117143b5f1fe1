-- When to check an attempt again, if it is too early to act on what RunPod says of it now; otherwise null.
create function tunebase_internal.too_early_to_reconcile(p_attempt tunebase.attempts, p_status text, p_output jsonb)
returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    -- A worker with a fresh lease is training, or its finish is on its way; a dispatcher with one is submitting.
    when p_attempt.state in ('submitting', 'running') and p_attempt.lease_until > now() then p_attempt.lease_until
    -- RunPod does not know a run yet that it has just accepted.
    when p_status = 'GONE' and p_attempt.submitted_at > now() - interval '1 minute' then now() + interval '10 seconds'
    -- RunPod ran one id twice: the second worker was refused and has ended, perhaps not the first. It gets one more lease
    -- to send a heartbeat.
    when p_output ->> 'status' = 'refused' and p_attempt.state = 'running'
      and p_attempt.lease_until + (p_attempt.lease_until - coalesce(p_attempt.last_report_at, p_attempt.started_at)) > now()
    then now() + interval '5 seconds'
  end;
end $$;
