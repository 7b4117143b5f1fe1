-- Ends an attempt and moves its job on. `p_fault` says whose fault a failure is: infrastructure's is tried again, from
-- the newest checkpoint, while failed_attempts are left; the user's and the operator's are not. A job that is final, or that
-- waits for a person, stays as it is.
create function tunebase_internal.end_attempt(
  p_attempt_id uuid, p_outcome text,
  p_fault text default null, p_code text default null, p_message text default null, p_hint text default null
) returns void
language plpgsql set search_path = ''
as $$
declare
  v_attempt tunebase.attempts;
  v_job tunebase.jobs;
  v_wait double precision;
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

  if tunebase_internal.is_terminal(v_job.status) or v_job.status = 'paused' then
    return;
  elsif v_attempt.cancel_requested then
    -- Paused before a worker had it, and resumed before it ended: now there is room for the next.
    perform tunebase_internal.requeue_job(v_job.id, 0);
  elsif p_outcome = 'not_started' then
    perform tunebase_internal.requeue_job(v_job.id, 0);
    update tunebase.jobs set queued_at = v_job.queued_at where id = v_job.id;
  elsif p_outcome = 'cancelled' then
    perform tunebase_internal.set_job_cancelled(v_job.id, 'warn', coalesce(p_message, 'The job was cancelled.'));
  elsif v_job.pause_requested and (p_outcome = 'paused' or p_fault = 'infrastructure') then
    perform tunebase_internal.set_job_paused(v_job.id);
  elsif p_outcome = 'paused' then
    -- Resumed before the pause had come about.
    perform tunebase_internal.requeue_job(v_job.id, 0);
  elsif p_fault = 'infrastructure' and v_job.cost_usd >= v_job.spend_cap_usd then
    perform tunebase_internal.fail_job(
      v_job.id, 'spend_cap', format('%s The job has reached its spend cap and is not tried again.', p_message),
      'Its newest checkpoint is kept. Create the job again with a higher spend_cap_usd.'
    );
  elsif p_fault = 'infrastructure' and v_job.failed_attempts + 1 < v_job.max_attempts then
    v_wait := least(300, 5 * power(2, v_job.failed_attempts));
    update tunebase.jobs set failed_attempts = failed_attempts + 1 where id = v_job.id;
    perform tunebase_internal.requeue_job(v_job.id, v_wait);
    perform tunebase_internal.add_event(v_job.id, 'warn', format(
      'Attempt %s ended early: %s The job is tried again in %s seconds, %s.', v_attempt.number, p_message, v_wait,
      coalesce(
        'from the checkpoint of step ' || (select max(step) from tunebase.checkpoints where job_id = v_job.id),
        'from the beginning'
      )
    ));
  else
    update tunebase.jobs set failed_attempts = failed_attempts + 1 where id = v_job.id;
    perform tunebase_internal.fail_job(v_job.id, p_code, p_message, p_hint);
  end if;
end $$;
