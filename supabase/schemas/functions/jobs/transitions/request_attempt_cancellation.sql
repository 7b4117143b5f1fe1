-- Makes the scheduler cancel a job's live attempt at RunPod, repeatedly until it has ended.
create function tunebase_internal.request_attempt_cancellation(p_job_id uuid) returns void
language sql set search_path = ''
as $$
  update tunebase.attempts
  set cancel_requested = true, cancel_requested_at = coalesce(cancel_requested_at, now()), reconcile_at = now()
  where job_id = p_job_id and state <> 'ended'
$$;
