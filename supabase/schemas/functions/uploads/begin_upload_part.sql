-- Records a part before its bytes arrive, so that every object has a record.
create function tunebase_internal.begin_upload_part(p_caller jsonb, p_upload_id uuid, p_part_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_upload_id, 'parts');
  v_parts bigint;
  v_object text;
begin
  perform tunebase_internal.require_pending(v_upload);
  select count(*) into v_parts from tunebase_internal.upload_parts where upload_id = p_upload_id;
  -- 8 GiB in parts of 1 MiB. Without a limit, parts could fill Storage.
  if v_parts >= 8192 then
    perform tunebase_internal.raise_api_error('too_many_parts', '{"max": 8192}');
  end if;
  v_object := 'parts/' || v_upload.project_id || '/' || p_upload_id || '/' || p_part_id;
  insert into tunebase_internal.upload_parts (id, upload_id, object) values (p_part_id, p_upload_id, v_object);
  return v_object;
end $$;
