-- What the scheduler does: claim a job, submit it, look after what has gone quiet.

-- Claims the next job: due, within its project's limit, the project with the fewest attempts first. Makes the
-- attempt before any call leaves, so that a crash between the two is known. null: nothing is due.
-- One claim at a time (the advisory lock): the limits are counted, and a claim takes about a millisecond.
create function tunebase.claim_dispatch(p_default_endpoint text, p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_model public.base_models;
  v_attempt public.attempts;
begin
  perform pg_advisory_xact_lock(hashtext('tunebase.claim_dispatch'));
  with alive as (
    select project_id, count(*) as attempts from public.attempts where state <> 'ended' group by project_id
  )
  select j.* into v_job
  from public.jobs j
  join public.projects p on p.id = j.project_id
  left join alive a on a.project_id = j.project_id
  where j.status = 'queued' and j.due_at <= now()
    and coalesce(a.attempts, 0) < p.max_running
    and not exists (select from public.attempts x where x.job_id = j.id and x.state <> 'ended')
  order by coalesce(a.attempts, 0), j.due_at
  limit 1
  for update of j skip locked;
  if not found then
    return null;
  end if;

  select * into strict v_model from public.base_models where id = v_job.base_model;
  insert into public.attempts (
    job_id, project_id, number, state, endpoint_id, gpu_config, execution_timeout_seconds, ttl_seconds, claim_deadline,
    lease_until, look_at
  ) values (
    v_job.id, v_job.project_id,
    (select coalesce(max(number), 0) + 1 from public.attempts where job_id = v_job.id),
    'submitting', coalesce(v_model.endpoint_id, p_default_endpoint), v_model.gpu_config,
    v_model.execution_timeout_seconds, v_model.queue_timeout_seconds + v_model.execution_timeout_seconds,
    now() + make_interval(secs => v_model.queue_timeout_seconds),
    now() + make_interval(secs => p_lease_seconds), now() + make_interval(secs => p_lease_seconds)
  ) returning * into v_attempt;
  return jsonb_build_object(
    'attempt', to_jsonb(v_attempt),
    'plan', v_job.plan,
    'training_object', (select object from public.files where id = v_job.training_file),
    'validation_object', (select object from public.files where id = v_job.validation_file)
  );
end $$;

-- /run gave an id. Late news (a worker has claimed it already) keeps the state and adds the id.
create function tunebase.dispatch_submitted(p_attempt_id uuid, p_runpod_job_id text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
begin
  update public.attempts
  set state = case when state in ('submitting', 'submission_unknown') then 'submitted' else state end,
    runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    -- A job that was cancelled while it was submitted is cancelled at RunPod at the next look.
    look_at = case
      when (select tunebase.is_final(status) from public.jobs where id = v_attempt.job_id) then now()
      when state in ('submitting', 'submission_unknown') then now() + interval '15 seconds'
      else look_at
    end
  where id = p_attempt_id and state <> 'ended';
end $$;

-- /run surely did not start it: the job is due again later, and this does not count as a try.
create function tunebase.dispatch_not_started(p_attempt_id uuid, p_reason text, p_retry_seconds integer) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  perform tunebase.end_attempt(p_attempt_id, 'not_started', p_message => p_reason);
  update public.jobs set due_at = now() + make_interval(secs => p_retry_seconds)
  where id = v_attempt.job_id and status = 'queued';
  if found then
    perform tunebase.add_event(v_attempt.job_id, 'warn', format(
      'The GPU service did not take the job (%s). Trying again in %s seconds.', p_reason, p_retry_seconds
    ));
  end if;
end $$;

-- /run was refused: something is set up wrongly, and trying again would not help.
create function tunebase.dispatch_refused(p_attempt_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  perform tunebase.end_attempt(
    p_attempt_id, 'refused', 'operator', 'configuration', p_reason,
    'The operator of this service must check RUNPOD_API_KEY, the endpoint and its balance.'
  );
end $$;

-- /run is unclear: it may have started a paid run, so it is not sent again. A worker's claim settles it.
create function tunebase.dispatch_unknown(p_attempt_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.lock_attempt(p_attempt_id);
  update public.attempts
  set state = 'submission_unknown', error_message = p_reason, look_at = claim_deadline
  where id = p_attempt_id and state = 'submitting';
end $$;

-- The attempts that are due for a look, each put off so that two schedulers do not look at one at once.
create function tunebase.due_attempts(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select id from public.attempts
    where state <> 'ended' and look_at <= now()
    order by look_at limit p_limit
    for update skip locked
  ), looked as (
    update public.attempts a set look_at = now() + interval '30 seconds'
    from due where a.id = due.id
    returning a.*
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', l.id, 'job_id', l.job_id, 'endpoint_id', l.endpoint_id, 'runpod_job_id', l.runpod_job_id, 'state', l.state,
    'cancel', tunebase.is_final(j.status) and (l.cancel_sent_at is null or l.cancel_sent_at < now() - interval '30 seconds')
  )), '[]')
  from looked l join public.jobs j on j.id = l.job_id
$$;

create function tunebase.cancel_sent(p_attempt_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.attempts set cancel_sent_at = now(), look_at = now() + interval '3 seconds'
  where id = p_attempt_id and state <> 'ended'
$$;

-- What a look at RunPod found. p_found: {status, error, output}; status is RunPod's own, or GONE (404), or
-- UNREACHABLE, or NONE (there is no id to ask for). p_fault is the class of output.error_code.
-- Returns {cancel: true} when the run should be cancelled at RunPod.
create function tunebase.reconcile(p_attempt_id uuid, p_found jsonb, p_fault text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
  v_job_final boolean;
  v_status text := p_found ->> 'status';
  v_output jsonb := case when jsonb_typeof(p_found -> 'output') = 'object' then p_found -> 'output' else '{}' end;
  v_over boolean := v_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE');
  v_held boolean;
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return '{}';
  end if;
  select tunebase.is_final(status) into v_job_final from public.jobs where id = v_attempt.job_id;
  v_held := v_attempt.state = 'running' and v_attempt.lease_until > now();

  -- The answer to /run did not come, or its sender died.
  if v_attempt.state = 'submitting' then
    if v_attempt.lease_until > now() then
      update public.attempts set look_at = lease_until where id = p_attempt_id;
      return '{}';
    end if;
    update public.attempts set state = 'submission_unknown', look_at = claim_deadline where id = p_attempt_id;
    v_attempt.state := 'submission_unknown';
  end if;

  -- A worker that holds a fresh lease is working, or its finish is on the way.
  if v_held then
    update public.attempts
    set look_at = case when v_job_final then least(lease_until, now() + interval '3 seconds') else lease_until end
    where id = p_attempt_id;
    return '{}';
  end if;

  if v_job_final then
    if v_over or v_attempt.claim_deadline < now() then
      perform tunebase.end_attempt(p_attempt_id, 'cancelled');
    else
      update public.attempts set look_at = now() + interval '5 seconds' where id = p_attempt_id;
    end if;
    return '{}';
  end if;

  -- RunPod knows nothing yet of a run it has only just taken.
  if v_status = 'GONE' and v_attempt.submitted_at > now() - interval '1 minute' then
    update public.attempts set look_at = now() + interval '10 seconds' where id = p_attempt_id;
    return '{}';
  end if;

  if v_over then
    -- The finish got lost, the files did not. Not one condition with `and`: SQL may evaluate both sides.
    if jsonb_typeof(v_output #> '{manifest,files}') = 'array' then
      if tunebase.succeed(p_attempt_id, v_output -> 'manifest') is null then
        return '{}';
      end if;
    end if;
    if v_output ? 'error_code' then
      perform tunebase.end_attempt(
        p_attempt_id, 'failed', coalesce(p_fault, 'infrastructure'), v_output ->> 'error_code',
        coalesce(v_output ->> 'error_message', 'The trainer failed.'), v_output ->> 'hint'
      );
    elsif v_status = 'CANCELLED' then
      perform tunebase.end_attempt(
        p_attempt_id, 'cancelled', p_message => 'The run was cancelled at the GPU service, not through this API.'
      );
    elsif v_status = 'TIMED_OUT' or p_found ->> 'error' ilike '%executionTimeout exceeded%' then
      perform tunebase.end_attempt(
        p_attempt_id, 'failed', 'user', 'time_limit',
        format('The run passed its limit of %s seconds.', v_attempt.execution_timeout_seconds),
        'Train for fewer epochs or on fewer rows.'
      );
    else
      perform tunebase.end_attempt(
        p_attempt_id, 'lost', 'infrastructure', 'worker_lost',
        'The GPU worker stopped without finishing: it was killed, ran out of memory, or its machine was lost.',
        'Nothing is wrong with your data. Create the job again.'
      );
    end if;
    return '{}';
  end if;

  if v_attempt.state <> 'running' and v_attempt.claim_deadline < now() then
    perform tunebase.end_attempt(
      p_attempt_id, 'expired', 'operator', 'no_capacity',
      format('No GPU worker started within %s seconds.', v_attempt.ttl_seconds - v_attempt.execution_timeout_seconds),
      'GPUs may be scarce now, or the endpoint has no workers. Create the job again later.'
    );
    return jsonb_build_object('cancel', v_attempt.runpod_job_id is not null);
  end if;

  -- RunPod says it runs, and nobody has heard of it for long: hung, or cut off from us.
  if v_attempt.state = 'running' and v_attempt.lease_until < now() - interval '10 minutes' then
    perform tunebase.end_attempt(
      p_attempt_id, 'lost', 'infrastructure', 'worker_lost',
      'The GPU worker has not been heard of for ten minutes.', 'Nothing is wrong with your data. Create the job again.'
    );
    return jsonb_build_object('cancel', v_attempt.runpod_job_id is not null);
  end if;

  update public.attempts
  set look_at = case
    when v_attempt.runpod_job_id is null and v_attempt.state = 'submission_unknown' then claim_deadline
    else now() + interval '15 seconds'
  end
  where id = p_attempt_id;
  return '{}';
end $$;

-- RunPod's webhook is a hint: look at it now.
create function tunebase.look_now(p_attempt_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.attempts set look_at = now() where id = p_attempt_id and state <> 'ended'
$$;
