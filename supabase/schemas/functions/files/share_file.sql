-- Records a file that shares the objects of an equal one; returns null if there is none. p_file: as in create_file, without
-- the objects. For a converted file, both its rows and its original must be shared.
create function tunebase_internal.share_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_object text := tunebase_internal.find_equal_object(
    v_project_id, p_file ->> 'purpose', p_file ->> 'sha256', (p_file ->> 'bytes')::bigint, (p_file ->> 'id')::uuid
  );
  v_original text;
begin
  if p_file #>> '{original,sha256}' is not null then
    v_original := tunebase_internal.find_equal_original(
      v_project_id, p_file #>> '{original,sha256}', (p_file #>> '{original,bytes}')::bigint
    );
    if v_original is null then
      return null;
    end if;
    p_file := jsonb_set(p_file, '{original,object}', to_jsonb(v_original));
  end if;
  if v_object is null then
    return null;
  end if;
  return tunebase_internal.create_file(p_caller, p_file || jsonb_build_object('object', v_object));
end $$;
