-- Cancels at once; the attempt on the GPU ends when RunPod or the worker confirms it, or when its time limit expires.
create function tunebase_internal.cancel_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_job(p_caller, p_job_id);
  perform tunebase_internal.set_job_cancelled(p_job_id, 'info', 'The job was cancelled on request.');
  perform tunebase_internal.request_attempt_cancellation(p_job_id);
  return tunebase_internal.job_json(p_job_id);
end $$;
