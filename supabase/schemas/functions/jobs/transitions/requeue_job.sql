-- A job waits for a GPU (again).
create function tunebase_internal.requeue_job(p_job_id uuid, p_wait_seconds double precision) returns void
language sql set search_path = ''
as $$
  update tunebase.jobs
  set status = 'queued', stage = null, estimated_finish = null, status_reason = null, queued_at = now(),
    due_at = now() + make_interval(secs => p_wait_seconds)
  where id = p_job_id
$$;
