-- What an ended attempt means for its job: the whole retry policy. `p_fault` is the class of the failure: only failures of
-- the infrastructure are retried, with backoff, until max_attempts of them in a row have brought no new checkpoint.
-- The backoff is backoff_seconds, the number of attempts jobs.max_attempts, and the class of each error of the trainer is
-- in contracts/trainer_errors.ts.
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
    -- Paused before a worker claimed it, and resumed before it ended: the next attempt can go.
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
