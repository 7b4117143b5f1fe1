-- Call before a file's bytes are stored. If the request dies before create_file, the object is deleted after an hour, longer
-- than any request lives. Returns the object's name.
create function tunebase_internal.reserve_file_object(p_caller jsonb, p_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_object text := tunebase_internal.authorize(p_caller, 'files:write') || '/' || p_id || '.jsonl';
begin
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at) values ('tunebase-datasets', v_object, now() + interval '1 hour');
  return v_object;
end $$;
