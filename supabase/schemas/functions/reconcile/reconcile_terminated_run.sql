-- Ends an attempt whose run has terminated at RunPod and whose files are not all in Storage.
create function tunebase_internal.reconcile_terminated_run(p_attempt tunebase.attempts, p_found jsonb, p_output jsonb, p_fault text)
returns void
language plpgsql set search_path = ''
as $$
declare
  v_status text := p_found ->> 'status';
  v_error text := tunebase_internal.runpod_text(p_found ->> 'error');
begin
  -- Before the job's own event. RunPod's text is often the only clue.
  if v_error is not null and not p_output ? 'error_code' then
    perform tunebase_internal.add_event(p_attempt.job_id, 'warn', format('The GPU service reports: %s', v_error));
  end if;
  if p_output ? 'error_code' then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'failed', coalesce(p_fault, 'infrastructure'), p_output ->> 'error_code',
      coalesce(p_output ->> 'error_message', 'The trainer failed.'), p_output ->> 'hint'
    );
  elsif p_output ->> 'status' = 'paused' then
    perform tunebase_internal.end_attempt(p_attempt.id, 'paused');
  elsif p_output ->> 'status' = 'preempted' then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'preempted', 'infrastructure', 'preempted', 'The GPU worker was preempted.', 'Create the job again.'
    );
  elsif v_status = 'CANCELLED' then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'cancelled', p_message => 'The run was cancelled directly at the GPU service.'
    );
  elsif v_status = 'TIMED_OUT' and p_attempt.started_at is null then
    -- It timed out in the queue, or the worker died before claiming it. The user was not billed.
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'expired', 'infrastructure', 'no_capacity',
      'The GPU service ended the run before a worker started it.', 'Create the job again later.'
    );
  elsif v_status = 'TIMED_OUT' or p_found ->> 'error' ilike '%executionTimeout exceeded%' then
    -- claim_dispatch shortens the limit to what the caps allow.
    if p_attempt.execution_timeout_seconds < (
      select m.execution_timeout_seconds from tunebase.jobs j join tunebase.base_models m on m.id = j.base_model
      where j.id = p_attempt.job_id
    ) then
      perform tunebase_internal.end_attempt(
        p_attempt.id, 'failed', 'user', 'spend_cap',
        format('The run was stopped after %s seconds, the maximum that its spend caps allow.', p_attempt.execution_timeout_seconds),
        'The newest checkpoint is kept. Create the job again with a higher spend_cap_usd, or ask an owner to raise the project''s cap.'
      );
    else
      perform tunebase_internal.end_attempt(
        p_attempt.id, 'failed', 'user', 'time_limit',
        format('The run exceeded its limit of %s seconds.', p_attempt.execution_timeout_seconds),
        'Train for fewer epochs or on fewer rows.'
      );
    end if;
  else
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'lost', 'infrastructure', 'worker_lost',
      'The GPU worker stopped without finishing: it was killed, ran out of memory, or its machine was lost.',
      'This is not a problem with your data. Create the job again.'
    );
  end if;
end $$;
