-- A direct upload of the caller's project.
create function tunebase_internal.get_direct_upload(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_id, 'direct');
begin
  if v_upload.status <> 'completed' then
    perform tunebase_internal.require_pending(v_upload);
  end if;
  return tunebase_internal.upload_json(p_id);
end $$;
