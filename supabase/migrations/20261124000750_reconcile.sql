-- What the scheduler does to look after what has gone quiet, and to end what nobody wants.

-- The attempts that are due for a look, each put off so that two schedulers do not look at one at once.
create function tunebase.due_attempts(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select id from public.attempts
    where state <> 'ended' and look_at <= now()
    order by look_at limit p_limit
    for no key update skip locked
  ), looked as (
    update public.attempts a set look_at = now() + interval '30 seconds'
    from due where a.id = due.id
    returning a.*
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', l.id, 'endpoint_id', l.endpoint_id, 'runpod_job_id', l.runpod_job_id,
    'prefix', tunebase.artifact_prefix(l.id), 'fence', l.fence,
    'waiting_seconds', case when l.state <> 'running' then extract(epoch from now() - l.created_at) end,
    'cancel', l.cancel_wanted and (l.cancel_sent_at is null or l.cancel_sent_at < now() - interval '30 seconds')
  )), '[]')
  from looked l
$$;

create function tunebase.cancel_sent(p_attempt_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.attempts set cancel_sent_at = now(), look_at = now() + interval '3 seconds'
  where id = p_attempt_id and state <> 'ended'
$$;

-- A file of an attempt whose worker could not say so itself was read back from Storage with this size and hash.
create function tunebase.record_found(p_attempt_id uuid, p_file jsonb) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase.verified_files (attempt_id, path, bytes, sha256)
  values (p_attempt_id, p_file ->> 'path', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256')
  on conflict (attempt_id, path) do update
  set bytes = excluded.bytes, sha256 = excluded.sha256, verified_at = now()
$$;

-- What a look at an attempt that nobody wants comes to: it has ended, or RunPod is asked again.
create function tunebase.reconcile_unwanted(p_attempt public.attempts, p_status text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_over boolean := p_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE');
  -- Without an id there is nothing to ask for; no worker gets it after the deadline. With one, RunPod deletes it at its ttl.
  v_deadline timestamptz := case
    when p_attempt.runpod_job_id is null then p_attempt.claim_deadline
    else coalesce(p_attempt.submitted_at, p_attempt.created_at) + make_interval(secs => p_attempt.ttl_seconds)
  end;
begin
  -- A worker that still reports reads the order in the reply, and says when it has stopped.
  if p_attempt.state = 'running' and p_attempt.lease_until > now() and not v_over then
    update public.attempts set look_at = now() + interval '3 seconds' where id = p_attempt.id;
  elsif v_over or v_deadline < now() then
    perform tunebase.end_attempt(p_attempt.id, 'cancelled', p_message => case
      when not v_over then 'The GPU service never confirmed the cancel.'
    end);
  else
    if p_attempt.cancel_wanted_at < now() - interval '5 minutes' and p_status = 'IN_PROGRESS' then
      perform tunebase.alert(
        'cancel_not_honoured', p_attempt.id::text,
        format('RunPod still runs %s at %s, which was cancelled. It may be billed.', p_attempt.runpod_job_id, p_attempt.endpoint_id)
      );
    end if;
    update public.attempts set look_at = now() + interval '5 seconds' where id = p_attempt.id;
  end if;
end $$;

-- What an attempt comes to that RunPod says is over, and whose files are not all in Storage.
create function tunebase.reconcile_over(p_attempt public.attempts, p_found jsonb, p_output jsonb, p_fault text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_status text := p_found ->> 'status';
begin
  if p_output ? 'error_code' then
    perform tunebase.end_attempt(
      p_attempt.id, 'failed', coalesce(p_fault, 'infrastructure'), p_output ->> 'error_code',
      coalesce(p_output ->> 'error_message', 'The trainer failed.'), p_output ->> 'hint'
    );
  elsif p_output ->> 'status' = 'paused' then
    perform tunebase.end_attempt(p_attempt.id, 'paused');
  elsif p_output ->> 'status' = 'preempted' then
    perform tunebase.end_attempt(
      p_attempt.id, 'preempted', 'infrastructure', 'preempted', 'The GPU was taken away.', 'Create the job again.'
    );
  elsif v_status = 'CANCELLED' then
    perform tunebase.end_attempt(
      p_attempt.id, 'cancelled', p_message => 'The run was cancelled at the GPU service, not through this API.'
    );
  elsif v_status = 'TIMED_OUT' or p_found ->> 'error' ilike '%executionTimeout exceeded%' then
    perform tunebase.end_attempt(
      p_attempt.id, 'failed', 'user', 'time_limit',
      format('The run passed its limit of %s seconds.', p_attempt.execution_timeout_seconds),
      'Train for fewer epochs or on fewer rows.'
    );
  else
    perform tunebase.end_attempt(
      p_attempt.id, 'lost', 'infrastructure', 'worker_lost',
      'The GPU worker stopped without finishing: it was killed, ran out of memory, or its machine was lost.',
      'Nothing is wrong with your data. Create the job again.'
    );
  end if;
end $$;

-- What a look at RunPod found. p_found: {status, error, output, manifest, queue_reason}; status is RunPod's own, or GONE
-- (404), or UNREACHABLE, or NONE (there is no id to ask for); manifest is that of files found in Storage. p_fault is the
-- class of output.error_code. Returns {cancel: true} when the run is to be cancelled at RunPod and then to be told here
-- again, with cancel_tried in p_found.
create function tunebase.reconcile(
  p_attempt_id uuid, p_found jsonb, p_fault text, p_most_silent_looks integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
  v_status text := p_found ->> 'status';
  v_output jsonb := case when jsonb_typeof(p_found -> 'output') = 'object' then p_found -> 'output' else '{}' end;
  v_reason text := p_found ->> 'queue_reason';
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
      update public.attempts set look_at = lease_until where id = p_attempt_id;
      return '{}';
    end if;
    update public.attempts set state = 'submission_unknown', look_at = claim_deadline where id = p_attempt_id;
    v_attempt.state := 'submission_unknown';
  end if;
  if v_attempt.cancel_wanted then
    perform tunebase.reconcile_unwanted(v_attempt, v_status);
    return '{}';
  end if;
  -- A worker that holds a fresh lease is working, or its finish is on the way.
  if v_attempt.state = 'running' and v_attempt.lease_until > now() then
    update public.attempts set look_at = lease_until, silent_looks = 0 where id = p_attempt_id;
    return '{}';
  end if;
  -- RunPod knows nothing yet of a run it has only just taken.
  if v_status = 'GONE' and v_attempt.submitted_at > now() - interval '1 minute' then
    update public.attempts set look_at = now() + interval '10 seconds' where id = p_attempt_id;
    return '{}';
  end if;

  -- RunPod ran one id twice: this is the end of the second worker, which was refused, and perhaps not of the first. It
  -- gets one more lease's time to be heard again.
  if v_output ->> 'status' = 'refused' and v_attempt.state = 'running'
    and v_attempt.lease_until + (v_attempt.lease_until - coalesce(v_attempt.last_report_at, v_attempt.started_at)) > now() then
    update public.attempts set look_at = now() + interval '5 seconds' where id = p_attempt_id;
    return '{}';
  end if;

  if v_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE') and not v_given_up then
    -- The finish got lost, the files did not. Not one condition with `and`: SQL may evaluate both sides.
    if jsonb_typeof(p_found #> '{manifest,files}') = 'array' then
      if tunebase.succeed(p_attempt_id, p_found -> 'manifest') is null then
        return '{}';
      end if;
    end if;
    perform tunebase.reconcile_over(v_attempt, p_found, v_output, p_fault);
    return '{}';
  end if;

  v_expired := v_attempt.state <> 'running' and v_attempt.claim_deadline < now();
  v_hangs := v_attempt.state = 'running'
    and (v_given_up or (v_status = 'IN_PROGRESS' and v_attempt.silent_looks >= p_most_silent_looks));
  if v_expired or v_hangs then
    -- Cancelled at RunPod first: once it has ended here nobody looks at it again, and it would be paid for on and on.
    -- The intent comes before the call, so that RunPod's CANCELLED is not taken for somebody else's.
    if v_attempt.runpod_job_id is not null and not v_given_up and not p_found ? 'cancel_tried' then
      update public.attempts set cancel_sent_at = now() where id = p_attempt_id;
      return jsonb_build_object('cancel', true);
    end if;
    if v_hangs then
      perform tunebase.end_attempt(
        p_attempt_id, 'lost', 'infrastructure', 'worker_lost',
        'The GPU worker has not been heard of for too long.', 'Nothing is wrong with your data. Create the job again.'
      );
    elsif v_attempt.runpod_job_id is null then
      -- Perhaps it was never sent: who was to send it may have died. Should a worker still come, it is refused unpaid, so
      -- another attempt may go.
      perform tunebase.end_attempt(
        p_attempt_id, 'expired', 'infrastructure', 'no_capacity',
        'The GPU service never confirmed that it took the run.', 'Create the job again later.'
      );
    else
      perform tunebase.end_attempt(
        p_attempt_id, 'expired', 'operator', 'no_capacity',
        format(
          'No GPU worker started within %s seconds: %s.', v_attempt.ttl_seconds - v_attempt.execution_timeout_seconds,
          coalesce(v_reason, (select queue_reason from public.jobs where id = v_attempt.job_id), 'the GPU service does not say why')
        ),
        'Create the job again later.'
      );
    end if;
    return '{}';
  end if;
  if v_attempt.state = 'running' and v_status = 'IN_PROGRESS' and v_attempt.silent_looks = 4 then
    perform tunebase.add_event(
      v_attempt.job_id, 'warn', 'The GPU worker cannot be heard just now; the GPU service says that it still runs.'
    );
  end if;
  if v_status not in ('IN_QUEUE', 'IN_PROGRESS', 'NONE', 'UNREACHABLE') then
    perform tunebase.alert('unknown_status', v_attempt.endpoint_id, format('RunPod says %s of %s.', v_status, v_attempt.runpod_job_id));
  end if;
  if v_reason is not null then
    update public.jobs set queue_reason = v_reason
    where id = v_attempt.job_id and status = 'queued' and queue_reason is distinct from v_reason;
    if found then
      perform tunebase.add_event(v_attempt.job_id, 'info', format('Waiting for a GPU: %s.', v_reason));
    end if;
  end if;
  update public.attempts
  set silent_looks = silent_looks + (v_attempt.state = 'running' and v_status = 'IN_PROGRESS')::integer,
    look_at = case
      when v_attempt.runpod_job_id is null and v_attempt.state = 'submission_unknown' then claim_deadline
      else now() + interval '15 seconds'
    end
  where id = p_attempt_id;
  return '{}';
end $$;

-- RunPod's webhook is a hint: look at it now. It came under the attempt's own token, so its id is the attempt's.
create function tunebase.look_now(p_attempt_id uuid, p_runpod_job_id text) returns void
language sql security definer set search_path = ''
as $$
  update public.attempts
  set look_at = now(), runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    state = case when state = 'submission_unknown' and p_runpod_job_id is not null then 'submitted' else state end
  where id = p_attempt_id and state <> 'ended'
$$;

-- Objects to remove from Storage; asked for again after a while unless removed.
create function tunebase.due_garbage(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select bucket, object from tunebase.garbage where next_at <= now()
    order by next_at limit p_limit
    for no key update skip locked
  ), taken as (
    update tunebase.garbage g set next_at = now() + interval '10 minutes'
    from due where g.bucket = due.bucket and g.object = due.object
    returning g.bucket, g.object
  )
  select coalesce(jsonb_agg(jsonb_build_object('bucket', bucket, 'object', object)), '[]') from taken
$$;

create function tunebase.garbage_removed(p_bucket text, p_objects jsonb) returns void
language sql security definer set search_path = ''
as $$
  delete from tunebase.garbage where bucket = p_bucket and object in (select jsonb_array_elements_text(p_objects))
$$;
