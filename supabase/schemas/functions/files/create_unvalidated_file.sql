-- Records a file whose bytes are in Storage, for the scheduler to validate. p_file: {id, filename, purpose, bytes,
-- object, expires_after}. Safe to call twice.
create function tunebase_internal.create_unvalidated_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_id uuid := (p_file ->> 'id')::uuid;
  v_file tunebase.files;
begin
  insert into tunebase.files (id, project_id, filename, purpose, bytes, status, object, expires_at)
  values (
    v_id, v_project_id, p_file ->> 'filename', p_file ->> 'purpose', (p_file ->> 'bytes')::bigint, 'uploaded', p_file ->> 'object',
    now() + make_interval(secs => (p_file ->> 'expires_after')::integer)
  )
  on conflict (id) do nothing;
  if found then
    insert into tunebase_internal.file_validations (file_id, sources, is_copied)
    values (v_id, jsonb_build_array(jsonb_build_object('object', p_file ->> 'object', 'bytes', (p_file ->> 'bytes')::bigint)), false);
  end if;
  select * into strict v_file from tunebase.files where id = v_id and project_id = v_project_id;
  delete from tunebase_internal.orphaned_objects where bucket = 'tunebase-datasets' and object = v_file.object;
  return to_jsonb(v_file);
end $$;
