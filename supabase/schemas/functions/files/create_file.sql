-- Records a validated file whose bytes are in Storage. p_file: {id, filename, purpose, bytes, sha256, report, object,
-- rows: {threshold, hashes}, expires_after}, and for a converted file also source_format, conversion and
-- original: {object, bytes, sha256}. Safe to call twice.
create function tunebase_internal.create_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_id uuid := (p_file ->> 'id')::uuid;
  v_file tunebase.files;
begin
  insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, report, object, expires_at,
    source_format, conversion, original_object, original_bytes, original_sha256)
  values (
    v_id, v_project_id, p_file ->> 'filename', p_file ->> 'purpose', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256',
    'processed', p_file -> 'report', p_file ->> 'object',
    now() + make_interval(secs => (p_file ->> 'expires_after')::integer),
    p_file ->> 'source_format', nullif(p_file -> 'conversion', 'null'), p_file #>> '{original,object}',
    (p_file #>> '{original,bytes}')::bigint, p_file #>> '{original,sha256}'
  )
  on conflict (id) do nothing;
  select * into strict v_file from tunebase.files where id = v_id and project_id = v_project_id;
  delete from tunebase_internal.orphaned_objects where bucket = 'tunebase-datasets' and object in (v_file.object, v_file.original_object);
  perform tunebase_internal.store_row_hashes(v_id, p_file -> 'rows');
  return to_jsonb(v_file);
end $$;
