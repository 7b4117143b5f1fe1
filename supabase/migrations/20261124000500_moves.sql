-- The moves that every caller shares: events, costs, the end of a job and of an attempt. Each runs inside the
-- transaction of the function that calls it, with the job's row locked first and the attempt's second: one order,
-- no deadlock.

-- Appends to a job's log. Numbers have no gaps because taking one updates the job's row.
create function tunebase.add_event(
  p_job_id uuid, p_level text, p_message text, p_type text default 'message', p_data jsonb default null
) returns void
language sql set search_path = ''
as $$
  with numbered as (
    update public.jobs set last_event = last_event + 1 where id = p_job_id returning id, project_id, last_event
  )
  insert into public.events (job_id, project_id, number, level, type, message, data)
  select id, project_id, last_event, p_level, p_type, p_message, p_data from numbered
$$;

-- Tells the operator. The same again only counts.
create function tunebase.alert(p_kind text, p_subject text, p_message text) returns void
language sql set search_path = ''
as $$
  insert into tunebase.alerts as a (kind, subject, message) values (p_kind, p_subject, p_message)
  on conflict (kind, subject) do update set message = excluded.message, times = a.times + 1, last_at = now()
$$;

-- Locks an attempt and its job; null when there is none. Not `for update`: a foreign key that somebody checks at the moment
-- (a notification of the job is written) would hold it up, and have a dispatcher skip it.
create function tunebase.lock_attempt(p_attempt_id uuid) returns public.attempts
language plpgsql set search_path = ''
as $$
declare
  v_attempt public.attempts;
begin
  perform 1 from public.jobs
  where id = (select job_id from public.attempts where id = p_attempt_id)
  for no key update;
  select * into v_attempt from public.attempts where id = p_attempt_id for no key update;
  return v_attempt;
end $$;

-- What an attempt has cost: from the first claim until now or its end, never while it was queued.
create function tunebase.cost_so_far(p_attempt public.attempts) returns numeric
language sql stable
return greatest(p_attempt.cost_usd, round((
  extract(epoch from coalesce(p_attempt.ended_at, now()) - p_attempt.started_at) / 3600
  * (p_attempt.gpu_config ->> 'cost_per_gpu_hour')::numeric * (p_attempt.gpu_config ->> 'num_gpus')::numeric
)::numeric, 6));

-- Settles an attempt's cost and its job's, which is the sum of its attempts'. In plpgsql, which keeps its plans: language
-- sql plans at every call, and this took 0.4 ms of a report's 1.5.
create function tunebase.settle_cost(p_attempt_id uuid) returns void
language plpgsql set search_path = ''
as $$
begin
  update public.attempts a set cost_usd = tunebase.cost_so_far(a)
  where id = p_attempt_id and started_at is not null;

  update public.jobs j
  set cost_usd = (select sum(a.cost_usd) from public.attempts a where a.job_id = j.id)
  where j.id = (select job_id from public.attempts where id = p_attempt_id);
end $$;

-- Nobody wants this job's attempts any more: the scheduler cancels them at RunPod until they have ended.
create function tunebase.unwant_attempts(p_job_id uuid) returns void
language sql set search_path = ''
as $$
  update public.attempts
  set cancel_wanted = true, cancel_wanted_at = coalesce(cancel_wanted_at, now()), look_at = now()
  where job_id = p_job_id and state <> 'ended'
$$;

create function tunebase.fail_job(p_job_id uuid, p_code text, p_message text, p_hint text) returns void
language plpgsql set search_path = ''
as $$
begin
  update public.jobs
  set status = 'failed', finished_at = now(), due_at = null, estimated_finish = null, queue_reason = null,
    pause_wanted = false, error_code = p_code, error_message = p_message, error_hint = nullif(p_hint, '')
  where id = p_job_id and not tunebase.is_final(status);
  if found then
    perform tunebase.add_event(p_job_id, 'error', concat_ws(' ', 'The job failed: ' || p_message, nullif(p_hint, '')));
  end if;
end $$;

create function tunebase.cancel_job_now(p_job_id uuid, p_level text, p_message text) returns void
language plpgsql set search_path = ''
as $$
begin
  update public.jobs
  set status = 'cancelled', finished_at = now(), due_at = null, estimated_finish = null, queue_reason = null,
    pause_wanted = false
  where id = p_job_id;
  perform tunebase.add_event(p_job_id, p_level, p_message);
end $$;

-- A job waits for a person. What was trained is in its newest checkpoint.
create function tunebase.pause_now(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_step integer;
begin
  update public.jobs
  set status = 'paused', stage = null, due_at = null, pause_wanted = false, estimated_finish = null, queue_reason = null
  where id = p_job_id;
  select max(step) into v_step from public.checkpoints where job_id = p_job_id;
  perform tunebase.add_event(p_job_id, 'info', case
    when v_step is null then 'The job is paused. It begins when it is resumed.'
    else format('The job is paused. When it is resumed it goes on from step %s.', v_step)
  end);
end $$;

-- A job waits for a GPU (again).
create function tunebase.queue_now(p_job_id uuid, p_wait_seconds double precision) returns void
language sql set search_path = ''
as $$
  update public.jobs
  set status = 'queued', stage = null, estimated_finish = null, queue_reason = null, queued_at = now(),
    due_at = now() + make_interval(secs => p_wait_seconds)
  where id = p_job_id
$$;

-- Ends an attempt and moves its job on. `p_fault` says whose fault a failure is: infrastructure's is tried again, from
-- the newest checkpoint, while tries are left; the user's and the operator's are not. A job that is final, or that
-- waits for a person, stays as it is.
create function tunebase.end_attempt(
  p_attempt_id uuid, p_outcome text,
  p_fault text default null, p_code text default null, p_message text default null, p_hint text default null
) returns void
language plpgsql set search_path = ''
as $$
declare
  v_attempt public.attempts;
  v_job public.jobs;
  v_wait double precision;
begin
  update public.attempts
  set state = 'ended', outcome = p_outcome, ended_at = now(), look_at = null,
    error_code = p_code, error_message = p_message
  where id = p_attempt_id and state <> 'ended'
  returning * into v_attempt;
  if not found then
    return;
  end if;
  perform tunebase.settle_cost(p_attempt_id);
  select * into strict v_job from public.jobs where id = v_attempt.job_id;

  if tunebase.is_final(v_job.status) or v_job.status = 'paused' then
    return;
  elsif v_attempt.cancel_wanted then
    -- Paused before a worker had it, and resumed before it ended: now there is room for the next.
    perform tunebase.queue_now(v_job.id, 0);
  elsif p_outcome = 'not_started' then
    perform tunebase.queue_now(v_job.id, 0);
    update public.jobs set queued_at = v_job.queued_at where id = v_job.id;
  elsif p_outcome = 'cancelled' then
    perform tunebase.cancel_job_now(v_job.id, 'warn', coalesce(p_message, 'The job was cancelled.'));
  elsif v_job.pause_wanted and (p_outcome = 'paused' or p_fault = 'infrastructure') then
    perform tunebase.pause_now(v_job.id);
  elsif p_outcome = 'paused' then
    -- Resumed before the pause had come about.
    perform tunebase.queue_now(v_job.id, 0);
  elsif p_fault = 'infrastructure' and v_job.cost_usd >= v_job.spend_cap_usd then
    perform tunebase.fail_job(
      v_job.id, 'spend_cap', format('%s The job has reached its spend cap and is not tried again.', p_message),
      'Its newest checkpoint is kept. Create the job again with a higher spend_cap_usd.'
    );
  elsif p_fault = 'infrastructure' and v_job.tries + 1 < v_job.max_tries then
    v_wait := least(300, 5 * power(2, v_job.tries));
    update public.jobs set tries = tries + 1 where id = v_job.id;
    perform tunebase.queue_now(v_job.id, v_wait);
    perform tunebase.add_event(v_job.id, 'warn', format(
      'Attempt %s ended early: %s The job is tried again in %s seconds, %s.', v_attempt.number, p_message, v_wait,
      coalesce(
        'from the checkpoint of step ' || (select max(step) from public.checkpoints where job_id = v_job.id),
        'from the beginning'
      )
    ));
  else
    update public.jobs set tries = tries + 1 where id = v_job.id;
    perform tunebase.fail_job(v_job.id, p_code, p_message, p_hint);
  end if;
end $$;

-- The successful end: every file of the manifest has been read back from Storage. Returns what is missing, or null.
create function tunebase.succeed(p_attempt_id uuid, p_manifest jsonb) returns text
language plpgsql set search_path = ''
as $$
declare
  v_missing text;
  v_job public.jobs;
  v_attempt public.attempts;
  v_name text;
begin
  select string_agg(f ->> 'path', ', ') into v_missing
  from jsonb_array_elements(p_manifest -> 'files') f
  where not exists (
    select from tunebase.verified_files v
    where v.attempt_id = p_attempt_id and v.path = f ->> 'path'
      and v.bytes = (f ->> 'bytes')::bigint and v.sha256 = f ->> 'sha256'
  );
  if v_missing is not null then
    return 'not verified in Storage: ' || v_missing;
  end if;
  if jsonb_array_length(p_manifest -> 'files') = 0 then
    return 'the manifest names no file';
  end if;

  select * into strict v_attempt from public.attempts where id = p_attempt_id;
  select * into strict v_job from public.jobs where id = v_attempt.job_id;
  update public.attempts set state = 'ended', outcome = 'succeeded', ended_at = now(), look_at = null
  where id = p_attempt_id;
  perform tunebase.settle_cost(p_attempt_id);
  -- Cancelled while the last file travelled: the files stay where they are, the job stays cancelled.
  if tunebase.is_final(v_job.status) then
    return null;
  end if;

  select concat_ws(':', 'ft', v_job.base_model, p.slug, coalesce(v_job.suffix, ''), right(replace(v_job.id::text, '-', ''), 8))
  into v_name
  from public.projects p where p.id = v_job.project_id;
  insert into public.adapters (job_id, project_id, attempt_id, name, base_model, manifest, prefix, bytes)
  values (
    v_job.id, v_job.project_id, p_attempt_id, v_name, v_job.base_model, p_manifest,
    tunebase.artifact_prefix(p_attempt_id),
    (select sum((f ->> 'bytes')::bigint) from jsonb_array_elements(p_manifest -> 'files') f)
  );
  update public.jobs
  set status = 'succeeded', stage = 'completed', progress = 100, finished_at = now(), estimated_finish = null,
    due_at = null, queue_reason = null, pause_wanted = false, fine_tuned_model = v_name,
    trained_tokens = greatest(trained_tokens, (p_manifest ->> 'trained_tokens')::bigint)
  where id = v_job.id;
  perform tunebase.add_event(v_job.id, 'info', format('New fine-tuned model created: %s', v_name));
  perform tunebase.add_event(v_job.id, 'info', 'The job has successfully completed.');
  return null;
end $$;

-- Where an attempt's files lie. Unique to the attempt: a retry never writes over what another has written.
create function tunebase.artifact_prefix(p_attempt_id uuid) returns text
language sql stable set search_path = ''
as $$
  select project_id || '/' || job_id || '/' || number from public.attempts where id = p_attempt_id
$$;
