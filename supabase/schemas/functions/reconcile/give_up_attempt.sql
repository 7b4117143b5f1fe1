-- Ends an attempt that hangs, or that no worker claimed in time.
create function tunebase_internal.give_up_attempt(p_attempt tunebase.attempts, p_hangs boolean, p_reason text) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_hangs then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'lost', 'infrastructure', 'worker_lost',
      'The GPU worker has sent no heartbeat for too long.', 'This is not a problem with your data. Create the job again.'
    );
  elsif p_attempt.runpod_job_id is null then
    -- The dispatcher may have died before the call. If a worker still claims it, that worker is rejected before it uses GPU
    -- time, so a new attempt is safe.
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'expired', 'infrastructure', 'no_capacity',
      'The GPU service never confirmed that it accepted the run.', 'Create the job again later.'
    );
  else
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'expired', 'operator', 'no_capacity',
      format(
        'No GPU worker started within %s seconds: %s.', p_attempt.ttl_seconds - p_attempt.execution_timeout_seconds,
        coalesce(
          p_reason, (select status_reason from tunebase.jobs where id = p_attempt.job_id), 'the GPU service gives no reason'
        )
      ),
      'Create the job again later.'
    );
  end if;
end $$;
