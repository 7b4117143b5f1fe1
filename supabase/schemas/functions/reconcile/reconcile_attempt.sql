-- What a look at RunPod found. p_found: {status, error, output, manifest, status_reason}; status is RunPod's own, or GONE
-- (404), or UNREACHABLE, or NONE (there is no id to ask for); manifest is that of files found in Storage. p_fault is the
-- class of output.error_code. Returns {cancel: true} when the run is to be cancelled at RunPod and then to be told here
-- again, with cancel_tried in p_found.
create function tunebase_internal.reconcile_attempt(
  p_attempt_id uuid, p_found jsonb, p_fault text, p_max_missed_heartbeats integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_status text := p_found ->> 'status';
  v_output jsonb := case when jsonb_typeof(p_found -> 'output') = 'object' then p_found -> 'output' else '{}' end;
  v_reason text := p_found ->> 'status_reason';
  -- It was cancelled from here because its time was over, and whoever did it died before it had ended here.
  v_given_up boolean := v_status = 'CANCELLED' and v_attempt.cancel_sent_at is not null;
  v_expired boolean;
  v_hangs boolean;
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return '{}';
  end if;
  -- The answer to /run did not come, or its sender died.
  if v_attempt.state = 'submitting' then
    if v_attempt.lease_until > now() then
      update tunebase.attempts set reconcile_at = lease_until where id = p_attempt_id;
      return '{}';
    end if;
    update tunebase.attempts set state = 'submission_unknown', reconcile_at = claim_deadline where id = p_attempt_id;
    v_attempt.state := 'submission_unknown';
  end if;
  if v_attempt.cancel_requested then
    perform tunebase_internal.reconcile_cancelled_attempt(v_attempt, v_status);
    return '{}';
  end if;
  -- A worker that holds a fresh lease is working, or its finish is on the way.
  if v_attempt.state = 'running' and v_attempt.lease_until > now() then
    update tunebase.attempts set reconcile_at = lease_until, missed_heartbeats = 0 where id = p_attempt_id;
    return '{}';
  end if;
  -- RunPod knows nothing yet of a run it has only just taken.
  if v_status = 'GONE' and v_attempt.submitted_at > now() - interval '1 minute' then
    update tunebase.attempts set reconcile_at = now() + interval '10 seconds' where id = p_attempt_id;
    return '{}';
  end if;

  -- RunPod ran one id twice: this is the end of the second worker, which was refused, and perhaps not of the first. It
  -- gets one more lease's time to be heard again.
  if v_output ->> 'status' = 'refused' and v_attempt.state = 'running'
    and v_attempt.lease_until + (v_attempt.lease_until - coalesce(v_attempt.last_report_at, v_attempt.started_at)) > now() then
    update tunebase.attempts set reconcile_at = now() + interval '5 seconds' where id = p_attempt_id;
    return '{}';
  end if;

  if v_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE') and not v_given_up then
    -- The finish got lost, the files did not. Not one condition with `and`: SQL may evaluate both sides.
    if jsonb_typeof(p_found #> '{manifest,files}') = 'array' then
      if tunebase_internal.complete_attempt(p_attempt_id, p_found -> 'manifest') is null then
        return '{}';
      end if;
    end if;
    perform tunebase_internal.reconcile_terminated_run(v_attempt, p_found, v_output, p_fault);
    return '{}';
  end if;

  v_expired := v_attempt.state <> 'running' and v_attempt.claim_deadline < now();
  v_hangs := v_attempt.state = 'running'
    and (v_given_up or (v_status = 'IN_PROGRESS' and v_attempt.missed_heartbeats >= p_max_missed_heartbeats));
  if v_expired or v_hangs then
    -- Cancelled at RunPod first: once it has ended here nobody looks at it again, and it would be paid for on and on.
    -- The intent comes before the call, so that RunPod's CANCELLED is not taken for somebody else's.
    if v_attempt.runpod_job_id is not null and not v_given_up and not p_found ? 'cancel_tried' then
      update tunebase.attempts set cancel_sent_at = now() where id = p_attempt_id;
      return jsonb_build_object('cancel', true);
    end if;
    if v_hangs then
      perform tunebase_internal.end_attempt(
        p_attempt_id, 'lost', 'infrastructure', 'worker_lost',
        'The GPU worker has sent no heartbeat for too long.', 'This is not a problem with your data. Create the job again.'
      );
    elsif v_attempt.runpod_job_id is null then
      -- Perhaps it was never sent: who was to send it may have died. Should a worker still come, it is refused unpaid, so
      -- another attempt may go.
      perform tunebase_internal.end_attempt(
        p_attempt_id, 'expired', 'infrastructure', 'no_capacity',
        'The GPU service never confirmed that it took the run.', 'Create the job again later.'
      );
    else
      perform tunebase_internal.end_attempt(
        p_attempt_id, 'expired', 'operator', 'no_capacity',
        format(
          'No GPU worker started within %s seconds: %s.', v_attempt.ttl_seconds - v_attempt.execution_timeout_seconds,
          coalesce(v_reason, (select status_reason from tunebase.jobs where id = v_attempt.job_id), 'the GPU service does not say why')
        ),
        'Create the job again later.'
      );
    end if;
    return '{}';
  end if;
  if v_attempt.state = 'running' and v_status = 'IN_PROGRESS' and v_attempt.missed_heartbeats = 4 then
    perform tunebase_internal.add_event(
      v_attempt.job_id, 'warn', 'No heartbeat from the GPU worker; RunPod reports that it is still running.'
    );
  end if;
  if v_status not in ('IN_QUEUE', 'IN_PROGRESS', 'NONE', 'UNREACHABLE') then
    perform tunebase_internal.raise_alert('unknown_status', v_attempt.endpoint_id, format('RunPod says %s of %s.', v_status, v_attempt.runpod_job_id));
  end if;
  if v_reason is not null then
    update tunebase.jobs set status_reason = v_reason
    where id = v_attempt.job_id and status = 'queued' and status_reason is distinct from v_reason;
    if found then
      perform tunebase_internal.add_event(v_attempt.job_id, 'info', format('Waiting for a GPU: %s.', v_reason));
    end if;
  end if;
  update tunebase.attempts
  set missed_heartbeats = missed_heartbeats + (v_attempt.state = 'running' and v_status = 'IN_PROGRESS')::integer,
    reconcile_at = case
      when v_attempt.runpod_job_id is null and v_attempt.state = 'submission_unknown' then claim_deadline
      else now() + interval '15 seconds'
    end
  where id = p_attempt_id;
  return '{}';
end $$;
