-- When to check an attempt again, if it is too early to act on its RunPod status; otherwise null.
create function tunebase_internal.too_early_to_reconcile(p_attempt tunebase.attempts, p_status text, p_output jsonb)
returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    -- With a fresh lease, a worker is training or its finish callback is on its way, or a dispatcher is submitting.
    when p_attempt.state in ('submitting', 'running') and p_attempt.lease_until > now() then p_attempt.lease_until
    -- RunPod may not find a run that it has just accepted.
    when p_status = 'GONE' and p_attempt.submitted_at > now() - interval '1 minute' then now() + interval '10 seconds'
    -- RunPod started a run twice: the second worker was rejected and has ended, the first may be running. It gets one more
    -- lease to send a heartbeat.
    when p_output ->> 'status' = 'refused' and p_attempt.state = 'running'
      and p_attempt.lease_until + (p_attempt.lease_until - coalesce(p_attempt.last_report_at, p_attempt.started_at)) > now()
    then now() + interval '5 seconds'
  end;
end $$;
