-- Records that a part is in Storage. Raises upload_not_pending, or upload_size if the parts exceed the declared size by more
-- than one part: a client that did not receive the response sends its part again and completes with one of the two.
create function tunebase_internal.complete_upload_part(p_caller jsonb, p_upload_id uuid, p_part_id uuid, p_bytes bigint)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_upload_id, 'parts');
  v_part tunebase_internal.upload_parts;
  v_sent bigint;
begin
  perform tunebase_internal.require_pending(v_upload);
  select coalesce(sum(bytes), 0) + p_bytes into v_sent
  from tunebase_internal.upload_parts where upload_id = p_upload_id and id <> p_part_id;
  if p_bytes > v_upload.bytes or v_sent > v_upload.bytes + least(v_upload.bytes, 67108864) then
    perform tunebase_internal.raise_api_error('upload_size', jsonb_build_object('bytes', v_upload.bytes, 'parts', v_sent, 'param', 'data'));
  end if;
  update tunebase_internal.upload_parts set bytes = p_bytes where id = p_part_id and upload_id = p_upload_id returning * into strict v_part;
  return to_jsonb(v_part);
end $$;
