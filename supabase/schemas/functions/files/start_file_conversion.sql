-- Call before writing the canonical rows of a valid file in another format, which have p_bytes. Raises quota_exceeded if they exceed
-- the project's storage quota. Returns the name of their object, the same when called again; null if another worker holds the
-- lease or the file is gone.
create function tunebase_internal.start_file_conversion(p_file_id uuid, p_lease uuid, p_bytes bigint) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid;
  v_object text;
begin
  select project_id into v_project_id from tunebase.files where id = p_file_id for no key update;
  select converted_object into v_object from tunebase_internal.file_validations
  where file_id = p_file_id and lease = p_lease for update;
  if not found then
    return null;
  elsif v_object is null then
    perform tunebase_internal.check_storage_quota(v_project_id, p_bytes);
    v_object := v_project_id || '/' || gen_random_uuid() || '.jsonl';
    update tunebase_internal.file_validations set converted_object = v_object, converted_bytes = p_bytes where file_id = p_file_id;
  end if;
  return v_object;
end $$;
