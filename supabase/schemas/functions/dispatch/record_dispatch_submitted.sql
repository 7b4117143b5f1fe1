-- /run returned an id. If a worker has already claimed the attempt, only the id is added.
create function tunebase_internal.record_dispatch_submitted(p_attempt_id uuid, p_runpod_job_id text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_attempt(p_attempt_id);
  update tunebase.attempts
  set state = case when state in ('submitting', 'submission_unknown') then 'submitted' else state end,
    runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    reconcile_at = case
      -- Cancelled or paused while it was submitted: it is cancelled at RunPod at the next check.
      when cancel_requested then now()
      when state in ('submitting', 'submission_unknown') then now() + interval '15 seconds'
      else reconcile_at
    end
  where id = p_attempt_id and state <> 'ended';
end $$;
