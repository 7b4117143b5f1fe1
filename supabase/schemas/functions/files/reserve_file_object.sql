-- Call before storing a file's bytes; p_bytes is a lower bound of their number. Raises quota_exceeded. If the request dies
-- before the file is recorded, the object is deleted after an hour, longer than any request runs. Returns the object's name.
create function tunebase_internal.reserve_file_object(p_caller jsonb, p_id uuid, p_bytes bigint) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_object text := v_project_id || '/' || p_id || '.jsonl';
begin
  perform tunebase_internal.check_storage_quota(v_project_id, p_bytes);
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at) values ('tunebase-datasets', v_object, now() + interval '1 hour');
  return v_object;
end $$;
