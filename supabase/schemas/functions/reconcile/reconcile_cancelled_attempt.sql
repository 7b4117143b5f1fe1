-- Reconciles an attempt that is being cancelled: ends it if the run has terminated, otherwise schedules another cancel.
create function tunebase_internal.reconcile_cancelled_attempt(p_attempt tunebase.attempts, p_status text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_terminated boolean := p_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE');
  -- Without an id, RunPod cannot be queried, but no worker can claim it after the deadline. With one, RunPod deletes it at its ttl.
  v_deadline timestamptz := case
    when p_attempt.runpod_job_id is null then p_attempt.claim_deadline
    else coalesce(p_attempt.submitted_at, p_attempt.created_at) + make_interval(secs => p_attempt.ttl_seconds)
  end;
begin
  -- A worker that still reports gets the directive in its next reply, and reports when it has stopped.
  if p_attempt.state = 'running' and p_attempt.lease_until > now() and not v_terminated then
    update tunebase.attempts set reconcile_at = now() + interval '3 seconds' where id = p_attempt.id;
  elsif v_terminated or v_deadline < now() then
    perform tunebase_internal.end_attempt(p_attempt.id, 'cancelled', p_message => case
      when not v_terminated then 'The GPU service never confirmed the cancellation.'
    end);
  else
    if p_attempt.cancel_requested_at < now() - interval '5 minutes' and p_status = 'IN_PROGRESS' then
      perform tunebase_internal.raise_alert(
        'cancel_ignored_by_runpod', p_attempt.id::text,
        format('Run %s on endpoint %s was cancelled but is still running, and may be billed.', p_attempt.runpod_job_id, p_attempt.endpoint_id)
      );
    end if;
    update tunebase.attempts set reconcile_at = now() + interval '5 seconds' where id = p_attempt.id;
  end if;
end $$;
