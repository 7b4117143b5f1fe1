-- As before; a job whose file turns out to have rows of the other method's kind fails, too. The API refuses that at once
-- where the file has been checked before.
-- A file's check has ended: its jobs are queued, or fail with it. A paused one fails too, or it could be resumed.
create function tunebase_internal.release_jobs_waiting_for_file(p_file_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_file tunebase.files;
  v_job tunebase.jobs;
  v_param text;
begin
  select * into strict v_file from tunebase.files where id = p_file_id;
  for v_job in
    select * from tunebase.jobs
    where (training_file = p_file_id or validation_file = p_file_id) and status in ('validating_files', 'paused')
    order by id
    for no key update
  loop
    v_param := case when v_job.training_file = p_file_id then 'training_file' else 'validation_file' end;
    if v_file.status = 'error' then
      perform tunebase_internal.fail_job(
        v_job.id, 'invalid_file', format('The %s is not valid: %s', replace(v_param, '_', ' '), v_file.status_details),
        'GET /files/{id} lists what is wrong with each row. Mend it, upload it, and create the job again.'
      );
      update tunebase.jobs set error_param = v_param where id = v_job.id;
    elsif (v_file.report ->> 'format' = 'preference') <> (v_job.method = 'dpo') then
      perform tunebase_internal.fail_job(
        v_job.id, 'invalid_file',
        format('The %s, %s, has %s rows, which method "%s" does not learn from.',
          replace(v_param, '_', ' '), v_file.filename, v_file.report ->> 'format', v_job.method),
        'Create the job again with method {"type": "dpo"} for preference rows and without it for others.'
      );
      update tunebase.jobs set error_param = v_param where id = v_job.id;
    elsif v_job.status = 'validating_files' and not exists (
      select from tunebase.files where id in (v_job.training_file, v_job.validation_file) and status <> 'processed'
    ) then
      perform tunebase_internal.enqueue_validated_job(v_job.id);
    end if;
  end loop;
end $$;
