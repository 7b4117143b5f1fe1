-- Reconciles an attempt now, after RunPod's webhook. The webhook's URL has the attempt's token, so its run id can be trusted.
create function tunebase_internal.schedule_reconcile(p_attempt_id uuid, p_runpod_job_id text) returns void
language sql security definer set search_path = ''
as $$
  update tunebase.attempts
  set reconcile_at = now(), runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    state = case when state = 'submission_unknown' and p_runpod_job_id is not null then 'submitted' else state end
  where id = p_attempt_id and state <> 'ended'
$$;
