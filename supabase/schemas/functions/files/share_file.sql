-- Records a file that shares the object of an equal one; returns null if there is none. p_file: as in create_file, without
-- the object.
create function tunebase_internal.share_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_object text := tunebase_internal.find_equal_object(
    tunebase_internal.authorize(p_caller, 'files:write'), p_file ->> 'purpose', p_file ->> 'sha256', (p_file ->> 'bytes')::bigint,
    (p_file ->> 'id')::uuid
  );
begin
  if v_object is null then
    return null;
  end if;
  return tunebase_internal.create_file(p_caller, p_file || jsonb_build_object('object', v_object));
end $$;
