-- What a worker does to its attempt. The edge function has checked the signature; the fence is checked here.

-- The first worker gets the attempt. A second is refused while the first's lease is fresh and takes over, with the
-- next fence, when it is stale. The same worker asking again (its answer was lost) gets the same fence. Whoever gets
-- it goes on from the job's newest checkpoint. p_claim_id is the call's webhook-id: a proxy or a retry can deliver one
-- call twice, and the second, late, must neither take the attempt from who holds it nor give it to who has gone.
create function tunebase.claim_attempt(
  p_attempt_id uuid, p_worker_id text, p_runpod_job_id text, p_lease_seconds integer, p_claim_id text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
  v_job public.jobs;
  v_checkpoint public.checkpoints;
  v_repeated boolean := coalesce(p_claim_id = any (v_attempt.claims), false);
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt has ended');
  end if;
  -- Its answer again, while it is the one that holds; afterwards it is too late.
  if v_repeated and (
    v_attempt.state <> 'running' or v_attempt.worker_id <> p_worker_id
    or p_claim_id <> v_attempt.claims[cardinality(v_attempt.claims)]
  ) then
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'this claim was answered before');
  end if;
  select * into strict v_job from public.jobs where id = v_attempt.job_id;
  if v_attempt.state = 'running' and v_attempt.worker_id <> p_worker_id and v_attempt.lease_until > now() then
    update public.attempts set claims = p_claim_id || claims where id = p_attempt_id and p_claim_id is not null;
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'another worker holds the attempt');
  end if;
  -- Nobody wants it: it ends here, unpaid. A pause that was asked for is there without a GPU. But what comes again may
  -- come beside a worker that trains: that one is given the order in its next reply, and stops as it should.
  if v_repeated then
    null;
  elsif v_attempt.cancel_wanted then
    perform tunebase.end_attempt(p_attempt_id, 'cancelled');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt is not wanted any more');
  elsif v_job.pause_wanted then
    perform tunebase.end_attempt(p_attempt_id, 'paused');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the job is paused');
  end if;

  update public.attempts
  set state = 'running', worker_id = p_worker_id,
    claims = case when v_repeated or p_claim_id is null then claims else claims || p_claim_id end,
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
    look_at = now() + make_interval(secs => p_lease_seconds)
  where id = p_attempt_id
  returning * into v_attempt;
  if v_job.status = 'queued' then
    update public.jobs
    set status = 'running', stage = 'setup', due_at = null, queue_reason = null, started_at = coalesce(started_at, now())
    where id = v_job.id;
    perform tunebase.add_event(v_job.id, 'info', case
      when v_job.started_at is null then 'Fine-tuning job started.' else format('Attempt %s started.', v_attempt.number)
    end);
  end if;
  select * into v_checkpoint from public.checkpoints where job_id = v_job.id order by step desc, id desc limit 1;
  return jsonb_build_object(
    'claimed', true, 'fence', v_attempt.fence,
    'training_object', (select object from public.files where id = v_job.training_file),
    'training_sha256', (select sha256 from public.files where id = v_job.training_file),
    'validation_object', (select object from public.files where id = v_job.validation_file),
    'validation_sha256', (select sha256 from public.files where id = v_job.validation_file),
    'resume', case when v_checkpoint.id is not null then jsonb_build_object(
      'step', v_checkpoint.step, 'files', v_checkpoint.files, 'prefix', tunebase.artifact_prefix(v_checkpoint.attempt_id)
    ) end,
    -- The fine-tune that it trains on from.
    'start_from', (
      select jsonb_build_object('files', manifest -> 'files', 'prefix', prefix)
      from public.adapters where name = v_job.parent_model
    )
  );
end $$;

-- What the holder of an attempt is told; `stop` for everybody else. Call it with the attempt locked.
-- In plpgsql, which keeps its plan: as language sql it took 0.2 ms.
create function tunebase.order_for(p_attempt public.attempts, p_worker_id text, p_fence integer) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_status text;
  v_pause_wanted boolean;
begin
  if p_attempt.id is null or p_attempt.state <> 'running' or p_attempt.fence <> p_fence
    or p_attempt.worker_id <> p_worker_id then
    return 'stop';
  end if;
  select status, pause_wanted into v_status, v_pause_wanted from public.jobs where id = p_attempt.job_id;
  return case
    when p_attempt.cancel_wanted or tunebase.is_final(v_status) then 'cancel'
    when v_pause_wanted then 'pause'
    else 'continue'
  end;
end $$;

-- Keeps a checkpoint whose files have all been read back from Storage. The three newest of a job stay; the others'
-- files are garbage. A checkpoint is progress: the tries begin anew.
create function tunebase.add_checkpoint(p_attempt public.attempts, p_checkpoint jsonb) returns void
language plpgsql set search_path = ''
as $$
begin
  if exists (
    select from jsonb_array_elements(p_checkpoint -> 'files') f
    where not exists (
      select from tunebase.verified_files v
      where v.attempt_id = p_attempt.id and v.path = f ->> 'path'
        and v.bytes = (f ->> 'bytes')::bigint and v.sha256 = f ->> 'sha256'
    )
  ) then
    perform tunebase.add_event(p_attempt.job_id, 'warn', format(
      'The checkpoint of step %s is not whole in Storage and was not kept.', p_checkpoint ->> 'step'
    ));
    return;
  end if;
  insert into public.checkpoints (job_id, project_id, attempt_id, step, metrics, files)
  values (
    p_attempt.job_id, p_attempt.project_id, p_attempt.id, (p_checkpoint ->> 'step')::integer,
    jsonb_strip_nulls(p_checkpoint - 'files'), p_checkpoint -> 'files'
  )
  on conflict (job_id, step, attempt_id) do nothing;
  if not found then
    return;
  end if;
  update public.jobs set tries = 0 where id = p_attempt.job_id;
  perform tunebase.add_event(
    p_attempt.job_id, 'info', format('Checkpoint of step %s saved.', p_checkpoint ->> 'step')
  );
  with old as (
    delete from public.checkpoints where id in (
      select id from public.checkpoints where job_id = p_attempt.job_id order by step desc, id desc offset 3
    )
    returning attempt_id, files
  )
  insert into tunebase.garbage (bucket, object)
  select 'adapters', tunebase.artifact_prefix(old.attempt_id) || '/' || (f ->> 'path')
  from old, jsonb_array_elements(old.files) f
  on conflict do nothing;
end $$;

-- Takes a report: the lease is extended, progress goes up and never down, metrics and log lines are added. A report
-- of an old fence, an ended attempt or a sequence that was seen changes nothing but a counter.
--
-- Each row is written once. A row that its own transaction has written already has its foreign keys checked at every
-- further update: with three updates of the job and two of the attempt a report took twice the time.
create function tunebase.report(p_attempt_id uuid, p_report jsonb, p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
  v_order text := tunebase.order_for(v_attempt, p_report ->> 'worker_id', (p_report ->> 'fence')::integer);
  v_last jsonb;
  v_reply jsonb;
begin
  if v_order = 'stop' or (p_report ->> 'sequence')::integer <= v_attempt.last_sequence then
    update public.attempts set stale_reports = stale_reports + 1 where id = p_attempt_id;
    return jsonb_build_object('order', v_order, 'lease_until', case
      when v_order <> 'stop' then floor(extract(epoch from v_attempt.lease_until))
    end);
  end if;
  update public.attempts a
  set last_sequence = (p_report ->> 'sequence')::integer, last_report_at = now(),
    lease_until = now() + make_interval(secs => p_lease_seconds),
    look_at = least(look_at, now() + make_interval(secs => p_lease_seconds)), silent_looks = 0,
    cost_usd = tunebase.cost_so_far(a)
  where id = p_attempt_id
  returning * into v_attempt;
  v_reply := jsonb_build_object('order', v_order, 'lease_until', floor(extract(epoch from v_attempt.lease_until)));
  if v_order = 'cancel' then
    perform tunebase.settle_cost(p_attempt_id);
    return v_reply;
  end if;

  v_last := p_report -> 'metrics' -> -1;
  with written as (
    insert into public.metrics as m (
      job_id, step, project_id, attempt, epoch, training_loss, validation_loss, learning_rate, gradient_norm,
      tokens_per_second, gpu_utilization, gpu_memory_gb
    )
    select v_attempt.job_id, r.step, v_attempt.project_id, v_attempt.number, r.epoch, r.training_loss, r.validation_loss,
      r.learning_rate, r.gradient_norm, r.tokens_per_second, r.gpu_utilization, r.gpu_memory_gb
    from (
      -- One row a step, even if a report should hold two.
      select distinct on (x.step) x.*
      from jsonb_to_recordset(p_report -> 'metrics') as x (
        step integer, epoch double precision, training_loss double precision, validation_loss double precision,
        learning_rate double precision, gradient_norm double precision, tokens_per_second double precision,
        gpu_utilization double precision, gpu_memory_gb double precision
      )
      order by x.step
    ) r
    -- A later attempt trains a step again and its figures count; the same attempt's repeat does not.
    on conflict (job_id, step) do update
    set attempt = excluded.attempt, epoch = excluded.epoch, training_loss = excluded.training_loss,
      validation_loss = excluded.validation_loss, learning_rate = excluded.learning_rate,
      gradient_norm = excluded.gradient_norm, tokens_per_second = excluded.tokens_per_second,
      gpu_utilization = excluded.gpu_utilization, gpu_memory_gb = excluded.gpu_memory_gb, created_at = now()
    where m.attempt < excluded.attempt
    returning m.*
  ), moved as (
    update public.jobs j
    set stage = p_report ->> 'stage',
      -- 100 is for a job whose files have been verified.
      progress = greatest(progress, least((p_report ->> 'progress')::real, 99)),
      current_epoch = (p_report ->> 'current_epoch')::real,
      total_epochs = coalesce((p_report ->> 'total_epochs')::real, total_epochs),
      current_step = (p_report ->> 'current_step')::integer,
      total_steps = coalesce((p_report ->> 'total_steps')::integer, total_steps),
      trained_tokens = greatest(trained_tokens, (p_report ->> 'trained_tokens')::bigint),
      tokens_per_second = coalesce((v_last ->> 'tokens_per_second')::real, tokens_per_second),
      training_loss = coalesce((v_last ->> 'training_loss')::double precision, training_loss),
      estimated_finish = now() + make_interval(secs => (p_report ->> 'seconds_left')::double precision),
      cost_usd = (select sum(a.cost_usd) from public.attempts a where a.job_id = j.id),
      last_event = last_event + jsonb_array_length(p_report -> 'events') + (select count(*) from written)
    where id = v_attempt.job_id
    returning j.id, j.project_id, j.total_steps, j.progress,
      j.last_event - jsonb_array_length(p_report -> 'events') - (select count(*) from written) as event_before
  )
  insert into public.events (job_id, project_id, number, level, type, message, data)
  select m.id, m.project_id, m.event_before + e.ordinality, e.value ->> 'level', 'message', e.value ->> 'message', null
  from moved m, jsonb_array_elements(p_report -> 'events') with ordinality e
  union all
  select m.id, m.project_id,
    m.event_before + jsonb_array_length(p_report -> 'events') + row_number() over (order by w.step), 'info', 'metrics',
    format('Step %s%s: training loss=%s', w.step, '/' || m.total_steps, round(w.training_loss::numeric, 4)),
    to_jsonb(w) - 'job_id' - 'project_id' - 'created_at'
      || jsonb_build_object('total_steps', m.total_steps, 'progress', m.progress)
  from moved m, written w;
  perform tunebase.add_checkpoint(v_attempt, c) from jsonb_array_elements(p_report -> 'checkpoints') c;
  return v_reply;
end $$;

-- What a worker may write: its order, and the prefix of its attempt.
create function tunebase.attempt_order(p_attempt_id uuid, p_worker_id text, p_fence integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts;
begin
  select * into v_attempt from public.attempts where id = p_attempt_id;
  return jsonb_build_object(
    'order', tunebase.order_for(v_attempt, p_worker_id, p_fence),
    'prefix', tunebase.artifact_prefix(p_attempt_id)
  );
end $$;

-- A file of the attempt was read back from Storage with this size and hash.
create function tunebase.record_verified(p_attempt_id uuid, p_worker_id text, p_fence integer, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
  v_order text := tunebase.order_for(v_attempt, p_worker_id, p_fence);
begin
  if v_order <> 'stop' then
    insert into tunebase.verified_files (attempt_id, path, bytes, sha256)
    values (p_attempt_id, p_file ->> 'path', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256')
    on conflict (attempt_id, path) do update
    set bytes = excluded.bytes, sha256 = excluded.sha256, verified_at = now();
  end if;
  return jsonb_build_object('order', v_order);
end $$;

-- A file in its place turned out to be wrong: it is verified no more, and the caller may remove it. False when the
-- attempt has ended or another fence holds it: then what lies there is not the caller's to touch.
create function tunebase.forget_verified(p_attempt_id uuid, p_fence integer, p_path text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
begin
  if v_attempt.id is null or v_attempt.state = 'ended' or v_attempt.fence <> p_fence then
    return false;
  end if;
  delete from tunebase.verified_files where attempt_id = p_attempt_id and path = p_path;
  return true;
end $$;

-- The worker's last word. p_fault is the class of its error_code. Sent again, it answers as it did the first time.
create function tunebase.finish(p_attempt_id uuid, p_finish jsonb, p_fault text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt public.attempts := tunebase.lock_attempt(p_attempt_id);
  v_order text := tunebase.order_for(v_attempt, p_finish ->> 'worker_id', (p_finish ->> 'fence')::integer);
  v_detail text;
begin
  if v_order = 'stop' then
    update public.attempts set stale_reports = stale_reports + 1 where id = p_attempt_id;
    return jsonb_build_object(
      'accepted', v_attempt.id is not null and v_attempt.outcome = p_finish ->> 'outcome'
        and v_attempt.fence = (p_finish ->> 'fence')::integer,
      'detail', 'the attempt has ended, or another worker holds it'
    );
  end if;

  case p_finish ->> 'outcome'
    when 'succeeded' then
      v_detail := tunebase.succeed(p_attempt_id, p_finish -> 'manifest');
      return jsonb_build_object('accepted', v_detail is null, 'detail', v_detail);
    when 'failed' then
      perform tunebase.end_attempt(
        p_attempt_id, 'failed', p_fault,
        p_finish ->> 'error_code', p_finish ->> 'error_message', p_finish ->> 'hint'
      );
    when 'paused' then
      perform tunebase.end_attempt(p_attempt_id, case when v_order = 'cancel' then 'cancelled' else 'paused' end);
    when 'preempted' then
      perform tunebase.end_attempt(
        p_attempt_id, 'preempted', 'infrastructure', 'preempted', p_finish ->> 'reason', 'Create the job again.'
      );
    else
      if v_order = 'cancel' then
        perform tunebase.end_attempt(p_attempt_id, 'cancelled');
      else
        -- Nobody here asked for it: RunPod did, because of its time limit or its console. /status says which.
        update public.attempts set lease_until = now(), look_at = now() where id = p_attempt_id;
      end if;
  end case;
  return jsonb_build_object('accepted', true, 'detail', null);
end $$;
