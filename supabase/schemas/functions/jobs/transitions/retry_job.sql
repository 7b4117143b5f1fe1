-- Counts a failed attempt and queues the job again after a backoff. The next attempt resumes from the newest checkpoint.
create function tunebase_internal.retry_job(
  p_job tunebase.jobs, p_attempt tunebase.attempts, p_wait_seconds double precision
) returns void
language plpgsql set search_path = ''
as $$
declare
  v_step integer := (select max(step) from tunebase.checkpoints where job_id = p_job.id);
begin
  update tunebase.jobs set failed_attempts = failed_attempts + 1 where id = p_job.id;
  perform tunebase_internal.enqueue_job(p_job.id, p_wait_seconds);
  perform tunebase_internal.add_event(p_job.id, 'warn', format(
    'Attempt %s failed: %s Retrying in %s seconds %s.', p_attempt.number, p_attempt.error_message, p_wait_seconds,
    coalesce('from checkpoint step ' || v_step, 'from scratch')
  ));
end $$;
