-- Acts on an attempt's status at RunPod. p_found: {status, error, output, manifest, status_reason}; status is RunPod's own,
-- GONE (404), UNREACHABLE, or NONE (the run's id is unknown); manifest lists files recovered from Storage. p_fault is the
-- class of output.error_code. Returns {cancel: true} if the caller must cancel the run at RunPod and then call again with
-- cancel_tried in p_found.
create function tunebase_internal.reconcile_attempt(
  p_attempt_id uuid, p_found jsonb, p_fault text, p_max_missed_heartbeats integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_status text := p_found ->> 'status';
  v_output jsonb := case when jsonb_typeof(p_found -> 'output') = 'object' then p_found -> 'output' else '{}' end;
  -- An earlier call cancelled it because it had expired or hung, and died before it ended the attempt.
  v_gave_up boolean := v_status = 'CANCELLED' and v_attempt.cancel_sent_at is not null;
  v_next_check timestamptz;
  v_expired boolean;
  v_hangs boolean;
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return '{}';
  end if;
  -- RunPod's response to /run did not arrive, or the dispatcher died.
  if v_attempt.state = 'submitting' and v_attempt.lease_until <= now() then
    update tunebase.attempts set state = 'submission_unknown', reconcile_at = claim_deadline where id = p_attempt_id
    returning * into v_attempt;
  end if;
  if v_attempt.cancel_requested and v_attempt.state <> 'submitting' then
    perform tunebase_internal.reconcile_cancelled_attempt(v_attempt, v_status);
    return '{}';
  end if;
  v_next_check := tunebase_internal.too_early_to_reconcile(v_attempt, v_status, v_output);
  if v_next_check is not null then
    update tunebase.attempts
    set reconcile_at = v_next_check,
      missed_heartbeats = case when state = 'running' and lease_until > now() then 0 else missed_heartbeats end
    where id = p_attempt_id;
    return '{}';
  end if;

  if v_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE') and not v_gave_up then
    -- The finish callback was lost, but not the files. Nested, because `and` may evaluate both sides.
    if jsonb_typeof(p_found #> '{manifest,files}') = 'array' then
      if tunebase_internal.complete_attempt(p_attempt_id, p_found -> 'manifest') is null then
        perform tunebase_internal.warn_unconfirmed_push(v_attempt.job_id);
        return '{}';
      end if;
    end if;
    perform tunebase_internal.reconcile_terminated_run(v_attempt, p_found, v_output, p_fault);
    return '{}';
  end if;

  v_expired := v_attempt.state <> 'running' and v_attempt.claim_deadline < now();
  v_hangs := v_attempt.state = 'running'
    and (v_gave_up or (v_status = 'IN_PROGRESS' and v_attempt.missed_heartbeats >= p_max_missed_heartbeats));
  if not v_expired and not v_hangs then
    perform tunebase_internal.record_runpod_status(v_attempt, v_status, p_found ->> 'status_reason');
    return '{}';
  end if;
  -- Cancel at RunPod first: ended attempts are never checked again, and RunPod would bill the run until its ttl. Record the
  -- intent before the call, so that RunPod's CANCELLED is attributed to it.
  if v_attempt.runpod_job_id is not null and not v_gave_up and not p_found ? 'cancel_tried' then
    update tunebase.attempts set cancel_sent_at = now() where id = p_attempt_id;
    return jsonb_build_object('cancel', true);
  end if;
  perform tunebase_internal.give_up_attempt(v_attempt, v_hangs, p_found ->> 'status_reason');
  return '{}';
end $$;
