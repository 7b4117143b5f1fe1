-- The whole retry policy: what to do with a job after an attempt has ended. `p_fault` is the class of the failure. Only
-- infrastructure failures are retried, with backoff, until max_attempts in a row have produced no new checkpoint. See
-- backoff_seconds for the backoff, jobs.max_attempts for the limit, and contracts/trainer_errors.ts for the class of each
-- trainer error.
--
-- action: none (the job is terminal or paused), requeue, restore (the job never left the queue), retry, pause, cancel,
-- fail, or fail_spend_cap.
create function tunebase_internal.retry_policy(
  p_job tunebase.jobs, p_attempt tunebase.attempts, p_fault text, out action text, out wait_seconds double precision
)
language plpgsql immutable set search_path = ''
as $$
declare
  v_infrastructure constant boolean := coalesce(p_fault = 'infrastructure', false);
begin
  action := case
    when tunebase_internal.is_terminal(p_job.status) or p_job.status = 'paused' then 'none'
    -- Paused before a worker claimed it, and resumed before it ended: the next attempt can start.
    when p_attempt.cancel_requested then 'requeue'
    when p_attempt.outcome = 'not_started' then 'restore'
    when p_attempt.outcome = 'cancelled' then 'cancel'
    when p_job.pause_requested and (p_attempt.outcome = 'paused' or v_infrastructure) then 'pause'
    -- The pause request was cancelled before the worker stopped.
    when p_attempt.outcome = 'paused' then 'requeue'
    when not v_infrastructure then 'fail'
    when p_job.cost_usd >= p_job.spend_cap_usd then 'fail_spend_cap'
    when p_job.failed_attempts + 1 < p_job.max_attempts then 'retry'
    else 'fail'
  end;
  wait_seconds := case when action = 'retry' then tunebase_internal.backoff_seconds(p_job.failed_attempts) else 0 end;
end $$;
