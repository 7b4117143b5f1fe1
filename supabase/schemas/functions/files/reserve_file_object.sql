-- Before the bytes of a file are stored. Should whoever stores them die before they are recorded, they are removed: an
-- hour is longer than any request lives. Returns the object to store them as.
create function tunebase_internal.reserve_file_object(p_caller jsonb, p_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_object text := tunebase_internal.authorize(p_caller, 'files:write') || '/' || p_id || '.jsonl';
begin
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at) values ('tunebase-datasets', v_object, now() + interval '1 hour');
  return v_object;
end $$;
