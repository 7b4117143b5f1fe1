-- A file's validation has finished: its waiting jobs are queued, or fail with it. Paused ones fail too, or they could be
-- resumed. Call it with the file locked.
create function tunebase_internal.release_jobs_waiting_for_file(p_file_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_file tunebase.files;
  v_job tunebase.jobs;
  v_status text;
  v_wake boolean := false;
begin
  select * into strict v_file from tunebase.files where id = p_file_id;
  for v_job in
    select * from tunebase.jobs
    where (training_file = p_file_id or validation_file = p_file_id) and status in ('validating_files', 'paused')
    order by id
    for no key update
  loop
    continue when tunebase_internal.fail_job_with_file(v_job, v_file);
    -- Not locked, unlike in enqueue_job: the validation of the other file may be waiting for this job's row, and releases
    -- the job when it gets it.
    if v_job.status = 'validating_files' and not exists (
      select from tunebase.files where id in (v_job.training_file, v_job.validation_file) and status <> 'processed'
    ) then
      v_status := tunebase_internal.enqueue_job(v_job.id);
      perform tunebase_internal.add_event(v_job.id, 'info', tunebase_internal.waiting_message(v_status));
      perform tunebase_internal.warn_dataset_overlap(v_job.id);
      v_wake := v_wake or v_status = 'queued';
    end if;
  end loop;
  if v_wake then
    perform tunebase_internal.wake_scheduler();
  end if;
end $$;
