-- The first worker gets the attempt. Another worker is rejected until the lease expires, and then takes over with the next
-- fencing token. The same worker gets the same token again if the response was lost. The holder resumes from the job's
-- newest checkpoint. p_claim_id is the call's webhook-id: a proxy or a retry can deliver a call twice, and a late copy must
-- neither take the attempt from its holder nor give it to a worker that is gone.
create function tunebase_internal.claim_attempt(
  p_attempt_id uuid, p_worker_id text, p_runpod_job_id text, p_lease_seconds integer, p_claim_id text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_job tunebase.jobs;
  v_repeated boolean := coalesce(p_claim_id = any (v_attempt.claim_request_ids), false);
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt has ended');
  end if;
  -- A repeated claim is answered again only if it is the holder's.
  if v_repeated and (
    v_attempt.state <> 'running' or v_attempt.worker_id <> p_worker_id
    or p_claim_id <> v_attempt.claim_request_ids[cardinality(v_attempt.claim_request_ids)]
  ) then
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'this claim was already answered');
  end if;
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  if v_attempt.state = 'running' and v_attempt.worker_id <> p_worker_id and v_attempt.lease_until > now() then
    update tunebase.attempts set claim_request_ids = p_claim_id || claim_request_ids where id = p_attempt_id and p_claim_id is not null;
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'another worker holds the attempt');
  end if;
  -- An attempt with a cancel or pause request ends here, before it uses GPU time. Not on a repeated claim: its worker may be
  -- training, and gets the directive in its next reply.
  if v_repeated then
    null;
  elsif v_attempt.cancel_requested then
    perform tunebase_internal.end_attempt(p_attempt_id, 'cancelled');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt was cancelled');
  elsif v_job.pause_requested then
    perform tunebase_internal.end_attempt(p_attempt_id, 'paused');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the job is paused');
  end if;

  update tunebase.attempts
  set state = 'running', worker_id = p_worker_id,
    claim_request_ids = case when v_repeated or p_claim_id is null then claim_request_ids else claim_request_ids || p_claim_id end,
    -- The same worker, before its first report: the response to its claim was lost.
    fence = case
      when v_repeated or (state = 'running' and worker_id = p_worker_id and last_sequence = 0) then fence else fence + 1
    end,
    last_sequence = case when v_repeated then last_sequence else 0 end,
    runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    started_at = coalesce(started_at, now()),
    lease_until = case
      when v_repeated and last_sequence > 0 then lease_until else now() + make_interval(secs => p_lease_seconds)
    end,
    reconcile_at = now() + make_interval(secs => p_lease_seconds)
  where id = p_attempt_id
  returning * into v_attempt;
  if v_job.status = 'queued' then
    update tunebase.jobs
    set status = 'running', stage = 'setup', due_at = null, status_reason = null, started_at = coalesce(started_at, now())
    where id = v_job.id;
    perform tunebase_internal.add_event(v_job.id, 'info', case
      when v_job.started_at is null then 'Fine-tuning job started.' else format('Attempt %s started.', v_attempt.number)
    end);
  end if;
  return tunebase_internal.claim_reply(v_job, v_attempt.fence);
end $$;
