-- Fails a job whose file turned out to be invalid, or to hold rows for another training method. Returns false if the file
-- suits the job. (If a file was validated earlier, the API rejects the job.)
create function tunebase_internal.fail_job_with_file(p_job tunebase.jobs, p_file tunebase.files) returns boolean
language plpgsql set search_path = ''
as $$
declare
  v_param text := case when p_job.training_file = p_file.id then 'training_file' else 'validation_file' end;
  v_label text := replace(v_param, '_', ' ');
begin
  if p_file.status = 'error' then
    perform tunebase_internal.fail_job(
      p_job.id, 'invalid_file', format('The %s is not valid: %s', v_label, p_file.status_details),
      'See GET /files/{id} for the errors in each row. Fix the file, upload it again and create a new job.', v_param
    );
    return true;
  elsif (p_file.report ->> 'format' = 'preference') <> (p_job.method = 'dpo') then
    perform tunebase_internal.fail_job(
      p_job.id, 'invalid_file',
      format('The %s, %s, has %s rows, which method "%s" cannot train on.',
        v_label, p_file.filename, p_file.report ->> 'format', p_job.method),
      'Create the job again with method {"type": "dpo"} for preference rows and without it for others.', v_param
    );
    return true;
  end if;
  return false;
end $$;
