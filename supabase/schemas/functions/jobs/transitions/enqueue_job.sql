-- Queues a job, or sets the status in which it waits before that (waiting_status). Returns the new status. Call it with the
-- job locked, and wake the scheduler afterwards.
create function tunebase_internal.enqueue_job(p_job_id uuid, p_wait_seconds double precision default 0) returns text
language plpgsql set search_path = ''
as $$
declare
  v_job tunebase.jobs;
  v_status text;
begin
  select * into strict v_job from tunebase.jobs where id = p_job_id;
  v_status := tunebase_internal.waiting_status(
    tunebase_internal.lock_unvalidated_files(v_job.training_file, v_job.validation_file), v_job.auto_start
  );
  update tunebase.jobs
  set status = v_status, stage = null, estimated_finish = null, status_reason = null,
    queued_at = case when v_status = 'queued' then now() end,
    due_at = case
      when v_status <> 'queued' then null
      -- An attempt from before a pause is still being cancelled: its end makes the job due.
      when exists (select from tunebase.attempts where job_id = p_job_id and state <> 'ended') then 'infinity'
      else now() + make_interval(secs => p_wait_seconds)
    end
  where id = p_job_id;
  return v_status;
end $$;
