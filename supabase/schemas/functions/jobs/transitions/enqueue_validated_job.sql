-- All files of a job that waited for them are valid. It is queued, or waits to be started (wait_for_start).
create function tunebase_internal.enqueue_validated_job(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
begin
  perform tunebase_internal.requeue_job(p_job_id, 0);
  perform tunebase_internal.add_event(p_job_id, 'info', case (select status from tunebase.jobs where id = p_job_id)
    when 'queued' then 'Files are valid; the job is queued for a GPU.'
    else 'Files are valid; the job waits to be started.'
  end);
  perform tunebase_internal.warn_dataset_overlap(p_job_id);
end $$;
