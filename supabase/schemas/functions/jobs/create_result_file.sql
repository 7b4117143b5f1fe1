-- Stores a finished job's metrics as the CSV file that OpenAI's `result_files` names. Returns its id.
create function tunebase_internal.create_result_file(p_job tunebase.jobs) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_id uuid := tunebase_internal.uuid7();
  v_content text := tunebase_internal.metrics_csv(p_job.id);
  v_bytes bytea := convert_to(v_content, 'UTF8');
begin
  if p_job.result_file is not null then
    return p_job.result_file;
  end if;
  insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, object)
  values (
    v_id, p_job.project_id, 'step_metrics.csv', 'fine-tune-results', octet_length(v_bytes),
    encode(sha256(v_bytes), 'hex'), 'processed',
    -- The column is unique; no object has this name, because the content is in result_contents.
    'results/' || v_id || '.csv'
  );
  insert into tunebase_internal.result_contents (file_id, content) values (v_id, v_content);
  return v_id;
end $$;
