-- Records a report: extends the lease, raises progress (it never falls), adds metrics and log lines. A report with a stale
-- fencing token, of an ended attempt, or with an old sequence only increments a counter.
--
-- Writes each row once: updating a row that this transaction has written checks the row's foreign keys again. With three
-- updates of the job and two of the attempt, a report took twice as long.
create function tunebase_internal.record_progress(p_attempt_id uuid, p_report jsonb, p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_directive text := tunebase_internal.worker_directive(v_attempt, p_report ->> 'worker_id', (p_report ->> 'fence')::integer);
  v_last jsonb;
  v_reply jsonb;
begin
  if v_directive = 'stop' or (p_report ->> 'sequence')::integer <= v_attempt.last_sequence then
    update tunebase.attempts set rejected_callbacks = rejected_callbacks + 1 where id = p_attempt_id;
    return jsonb_build_object('directive', v_directive, 'lease_until', case
      when v_directive <> 'stop' then floor(extract(epoch from v_attempt.lease_until))
    end);
  end if;
  update tunebase.attempts a
  set last_sequence = (p_report ->> 'sequence')::integer, last_report_at = now(),
    lease_until = now() + make_interval(secs => p_lease_seconds),
    reconcile_at = least(reconcile_at, now() + make_interval(secs => p_lease_seconds)), missed_heartbeats = 0,
    cost_usd = tunebase_internal.attempt_cost(a)
  where id = p_attempt_id
  returning * into v_attempt;
  v_reply := jsonb_build_object('directive', v_directive, 'lease_until', floor(extract(epoch from v_attempt.lease_until)));
  if v_directive = 'cancel' then
    perform tunebase_internal.update_attempt_cost(p_attempt_id);
    return v_reply;
  end if;

  v_last := p_report -> 'metrics' -> -1;
  with written as (
    insert into tunebase.metrics as m (
      job_id, step, project_id, attempt, epoch, training_loss, validation_loss, learning_rate, gradient_norm,
      tokens_per_second, gpu_utilization, gpu_memory_gb
    )
    select v_attempt.job_id, r.step, v_attempt.project_id, v_attempt.number, r.epoch, r.training_loss, r.validation_loss,
      r.learning_rate, r.gradient_norm, r.tokens_per_second, r.gpu_utilization, r.gpu_memory_gb
    from (
      -- One row per step, even if a report has two.
      select distinct on (x.step) x.*
      from jsonb_to_recordset(p_report -> 'metrics') as x (
        step integer, epoch double precision, training_loss double precision, validation_loss double precision,
        learning_rate double precision, gradient_norm double precision, tokens_per_second double precision,
        gpu_utilization double precision, gpu_memory_gb double precision
      )
      order by x.step
    ) r
    -- A later attempt that repeats a step replaces its metrics; the same attempt does not.
    on conflict (job_id, step) do update
    set attempt = excluded.attempt, epoch = excluded.epoch, training_loss = excluded.training_loss,
      validation_loss = excluded.validation_loss, learning_rate = excluded.learning_rate,
      gradient_norm = excluded.gradient_norm, tokens_per_second = excluded.tokens_per_second,
      gpu_utilization = excluded.gpu_utilization, gpu_memory_gb = excluded.gpu_memory_gb, created_at = now()
    where m.attempt < excluded.attempt
    returning m.*
  ), moved as (
    update tunebase.jobs j
    set stage = p_report ->> 'stage',
      -- 100 means that the files are verified.
      progress = greatest(progress, least((p_report ->> 'progress')::real, 99)),
      current_epoch = (p_report ->> 'current_epoch')::real,
      total_epochs = coalesce((p_report ->> 'total_epochs')::real, total_epochs),
      current_step = (p_report ->> 'current_step')::integer,
      total_steps = coalesce((p_report ->> 'total_steps')::integer, total_steps),
      trained_tokens = greatest(trained_tokens, (p_report ->> 'trained_tokens')::bigint),
      tokens_per_second = coalesce((v_last ->> 'tokens_per_second')::real, tokens_per_second),
      training_loss = coalesce((v_last ->> 'training_loss')::double precision, training_loss),
      estimated_finish = now() + make_interval(secs => (p_report ->> 'seconds_left')::double precision),
      cost_usd = (select sum(a.cost_usd) from tunebase.attempts a where a.job_id = j.id),
      last_event = last_event + jsonb_array_length(p_report -> 'events') + (select count(*) from written)
    where id = v_attempt.job_id
    returning j.id, j.project_id, j.total_steps, j.progress,
      j.last_event - jsonb_array_length(p_report -> 'events') - (select count(*) from written) as event_before
  )
  insert into tunebase.events (job_id, project_id, number, level, type, message, data)
  select m.id, m.project_id, m.event_before + e.ordinality, e.value ->> 'level', 'message', e.value ->> 'message', null
  from moved m, jsonb_array_elements(p_report -> 'events') with ordinality e
  union all
  select m.id, m.project_id,
    m.event_before + jsonb_array_length(p_report -> 'events') + row_number() over (order by w.step), 'info', 'metrics',
    format('Step %s%s: training loss=%s', w.step, '/' || m.total_steps, round(w.training_loss::numeric, 4)),
    to_jsonb(w) - 'job_id' - 'project_id' - 'created_at'
      || jsonb_build_object('total_steps', m.total_steps, 'progress', m.progress)
  from moved m, written w;
  perform tunebase_internal.add_checkpoint(v_attempt, c) from jsonb_array_elements(p_report -> 'checkpoints') c;
  return v_reply;
end $$;
