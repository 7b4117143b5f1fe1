create function tunebase_internal.create_result_file() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := tunebase_internal.uuid7();
  v_content text := tunebase_internal.metrics_csv(new.id);
begin
  insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, object)
  values (
    v_id, new.project_id, 'step_metrics.csv', 'fine-tune-results', octet_length(convert_to(v_content, 'UTF8')),
    encode(sha256(convert_to(v_content, 'UTF8')), 'hex'), 'processed',
    -- Nothing lies there; the name is only unique.
    'results/' || v_id || '.csv'
  );
  insert into tunebase_internal.result_contents (file_id, content) values (v_id, v_content);
  new.result_file := v_id;
  return new;
end $$;
