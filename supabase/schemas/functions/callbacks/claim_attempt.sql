-- The first worker gets the attempt. A second is refused while the first's lease is fresh and takes over, with the
-- next fence, when it is stale. The same worker asking again (its answer was lost) gets the same fence. Whoever gets
-- it goes on from the job's newest checkpoint. p_claim_id is the call's webhook-id: a proxy or a retry can deliver one
-- call twice, and the second, late, must neither take the attempt from who holds it nor give it to who has gone.
create function tunebase_internal.claim_attempt(
  p_attempt_id uuid, p_worker_id text, p_runpod_job_id text, p_lease_seconds integer, p_claim_id text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_job tunebase.jobs;
  v_checkpoint tunebase.checkpoints;
  v_repeated boolean := coalesce(p_claim_id = any (v_attempt.claim_request_ids), false);
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt has ended');
  end if;
  -- Its answer again, while it is the one that holds; afterwards it is too late.
  if v_repeated and (
    v_attempt.state <> 'running' or v_attempt.worker_id <> p_worker_id
    or p_claim_id <> v_attempt.claim_request_ids[cardinality(v_attempt.claim_request_ids)]
  ) then
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'this claim was answered before');
  end if;
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  if v_attempt.state = 'running' and v_attempt.worker_id <> p_worker_id and v_attempt.lease_until > now() then
    update tunebase.attempts set claim_request_ids = p_claim_id || claim_request_ids where id = p_attempt_id and p_claim_id is not null;
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'another worker holds the attempt');
  end if;
  -- Nobody wants it: it ends here, unpaid. A pause that was asked for is there without a GPU. But what comes again may
  -- come beside a worker that trains: that one is given the order in its next reply, and stops as it should.
  if v_repeated then
    null;
  elsif v_attempt.cancel_requested then
    perform tunebase_internal.end_attempt(p_attempt_id, 'cancelled');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt is not wanted any more');
  elsif v_job.pause_requested then
    perform tunebase_internal.end_attempt(p_attempt_id, 'paused');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the job is paused');
  end if;

  update tunebase.attempts
  set state = 'running', worker_id = p_worker_id,
    claim_request_ids = case when v_repeated or p_claim_id is null then claim_request_ids else claim_request_ids || p_claim_id end,
    -- The same worker again, before it has reported anything: its claim's answer was lost.
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
  select * into v_checkpoint from tunebase.checkpoints where job_id = v_job.id order by step desc, id desc limit 1;
  return jsonb_build_object(
    'claimed', true, 'fence', v_attempt.fence,
    'training_object', (select object from tunebase.files where id = v_job.training_file),
    'training_sha256', (select sha256 from tunebase.files where id = v_job.training_file),
    'validation_object', (select object from tunebase.files where id = v_job.validation_file),
    'validation_sha256', (select sha256 from tunebase.files where id = v_job.validation_file),
    'resume', case when v_checkpoint.id is not null then jsonb_build_object(
      'step', v_checkpoint.step, 'files', v_checkpoint.files, 'prefix', tunebase_internal.artifact_prefix(v_checkpoint.attempt_id)
    ) end,
    -- The fine-tune that it trains on from.
    'start_from', (
      select jsonb_build_object('files', manifest -> 'files', 'prefix', prefix)
      from tunebase.adapters where name = v_job.parent_model
    )
  );
end $$;
