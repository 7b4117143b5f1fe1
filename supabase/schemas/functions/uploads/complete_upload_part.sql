-- The bytes of a part are in Storage. Raises an error if the upload has ended, or now has more bytes than announced.
create function tunebase_internal.complete_upload_part(p_caller jsonb, p_upload_id uuid, p_part_id uuid, p_bytes bigint) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_upload_id, 'parts');
  v_part tunebase_internal.upload_parts;
begin
  perform tunebase_internal.require_pending(v_upload);
  if p_bytes > v_upload.bytes then
    perform tunebase_internal.raise_api_error('upload_size', jsonb_build_object('bytes', v_upload.bytes, 'parts', p_bytes, 'param', 'data'));
  end if;
  update tunebase_internal.upload_parts set bytes = p_bytes where id = p_part_id and upload_id = p_upload_id returning * into strict v_part;
  return to_jsonb(v_part);
end $$;
