-- /run certainly did not start a run: the job is due again later, and this does not count as a failed attempt. A job that
-- has waited longer than its queue timeout fails with no_capacity. p_blocked (a 429): no calls to this endpoint until then.
create function tunebase_internal.record_dispatch_rejected(
  p_attempt_id uuid, p_reason text, p_retry_seconds double precision, p_blocked boolean
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_job tunebase.jobs;
  v_queue_timeout interval := make_interval(secs => v_attempt.ttl_seconds - v_attempt.execution_timeout_seconds);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  if p_blocked then
    update tunebase_internal.runpod_endpoints
    set blocked_until = greatest(blocked_until, now() + make_interval(secs => p_retry_seconds)), calls_left = 0
    where endpoint_id = v_attempt.endpoint_id;
  end if;
  perform tunebase_internal.end_attempt(p_attempt_id, 'not_started', p_message => p_reason);
  select * into v_job from tunebase.jobs where id = v_attempt.job_id;
  if v_job.status <> 'queued' then
    return;
  end if;
  if exists (
    select from tunebase.attempts
    where job_id = v_job.id and outcome = 'not_started' and created_at between v_job.queued_at and now() - v_queue_timeout
  ) then
    perform tunebase_internal.fail_job(
      v_job.id, 'no_capacity', format('The GPU service has not accepted the job for %s (%s).', v_queue_timeout, p_reason),
      'Create the job again later.'
    );
    return;
  end if;
  update tunebase.jobs set due_at = now() + make_interval(secs => p_retry_seconds), status_reason = p_reason
  where id = v_job.id;
  perform tunebase_internal.add_event(v_job.id, 'warn', format(
    'The GPU service did not accept the job (%s). Retrying in %s seconds.', p_reason, ceil(p_retry_seconds)
  ));
end $$;
