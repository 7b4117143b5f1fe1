-- Ends an attempt and applies retry_policy to its job. Call it with both locked, the job first.
create function tunebase_internal.end_attempt(
  p_attempt_id uuid, p_outcome text,
  p_fault text default null, p_code text default null, p_message text default null, p_hint text default null
) returns void
language plpgsql set search_path = ''
as $$
declare
  v_attempt tunebase.attempts;
  v_job tunebase.jobs;
  v_next record;
begin
  update tunebase.attempts
  set state = 'ended', outcome = p_outcome, ended_at = now(), reconcile_at = null,
    error_code = p_code, error_message = p_message
  where id = p_attempt_id and state <> 'ended'
  returning * into v_attempt;
  if not found then
    return;
  end if;
  perform tunebase_internal.update_attempt_cost(p_attempt_id);
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  v_next := tunebase_internal.retry_policy(v_job, v_attempt, p_fault);

  case v_next.action
    when 'none' then
      null;
    when 'requeue' then
      perform tunebase_internal.enqueue_job(v_job.id);
      perform tunebase_internal.wake_scheduler();
    when 'restore' then
      -- `queued_at` is kept: it measures how long the job has waited for a GPU.
      update tunebase.jobs set due_at = now(), status_reason = null where id = v_job.id;
    when 'retry' then
      perform tunebase_internal.retry_job(v_job, v_attempt, v_next.wait_seconds);
    when 'pause' then
      perform tunebase_internal.set_job_paused(v_job.id);
    when 'cancel' then
      perform tunebase_internal.set_job_cancelled(v_job.id, 'warn', coalesce(p_message, 'The job was cancelled.'));
    when 'fail_spend_cap' then
      perform tunebase_internal.fail_job(
        v_job.id, 'spend_cap', format('%s The job has reached its spend cap and is not retried.', p_message),
        'The newest checkpoint is kept. Create the job again with a higher spend_cap_usd.'
      );
    when 'fail' then
      update tunebase.jobs set failed_attempts = failed_attempts + 1 where id = v_job.id;
      perform tunebase_internal.fail_job(v_job.id, p_code, p_message, p_hint);
  end case;
end $$;
