-- Creates the file of a direct upload, whose bytes were moved to p_object, out of reach of the upload token. Called again, it
-- returns the same file.
create function tunebase_internal.complete_direct_upload(p_caller jsonb, p_id uuid, p_object text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_id, 'direct');
begin
  if v_upload.status <> 'completed' then
    perform tunebase_internal.require_pending(v_upload);
    perform tunebase_internal.create_uploaded_file(
      v_upload, p_id, jsonb_build_array(jsonb_build_object('object', p_object, 'bytes', v_upload.bytes)), null, p_object
    );
    -- The upload token is still valid for a while and could write there again.
    insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
    values ('tunebase-datasets', v_upload.object, now() + interval '25 hours')
    on conflict do nothing;
  end if;
  return tunebase_internal.upload_json(p_id);
end $$;
