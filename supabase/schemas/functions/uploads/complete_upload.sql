-- Creates a file from parts, in the order of p_part_ids. A single part becomes the file's object. Validation, which reads all
-- parts anyway, copies several into one object: Storage cannot concatenate objects, and the trainer downloads a single URL.
-- Called again, it returns the same file.
create function tunebase_internal.complete_upload(p_caller jsonb, p_id uuid, p_part_ids uuid[], p_md5 text, p_file_id uuid)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_id, 'parts');
  v_sources jsonb;
  v_bytes bigint;
  v_known bigint;
begin
  if v_upload.status = 'completed' then
    return tunebase_internal.upload_json(p_id);
  end if;
  perform tunebase_internal.require_pending(v_upload);
  select jsonb_agg(jsonb_build_object('object', p.object, 'bytes', p.bytes) order by o.place) filter (where p.bytes > 0),
    sum(p.bytes), count(distinct p.id)
  into v_sources, v_bytes, v_known
  from unnest(p_part_ids) with ordinality o (id, place)
  join tunebase_internal.upload_parts p on p.id = o.id and p.upload_id = p_id and p.bytes is not null;
  if v_known <> cardinality(p_part_ids) then
    perform tunebase_internal.raise_api_error('part_not_found', '{"param": "part_ids"}');
  elsif v_bytes is distinct from v_upload.bytes then
    perform tunebase_internal.raise_api_error('upload_size', jsonb_build_object(
      'bytes', v_upload.bytes, 'parts', coalesce(v_bytes, 0), 'param', 'part_ids'
    ));
  end if;
  perform tunebase_internal.create_uploaded_file(
    v_upload, p_file_id, v_sources, p_md5,
    case when jsonb_array_length(v_sources) = 1 then v_sources -> 0 ->> 'object'
    else v_upload.project_id || '/' || p_file_id || '.jsonl' end
  );
  perform tunebase_internal.discard_upload_parts(p_id, p_part_ids);
  -- From here on the parts' objects belong to the file and its validation.
  delete from tunebase_internal.upload_parts where upload_id = p_id;
  return tunebase_internal.upload_json(p_id);
end $$;
