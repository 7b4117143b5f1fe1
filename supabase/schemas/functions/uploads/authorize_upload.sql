-- Locks an upload of the caller's project. Raises upload_not_found.
create function tunebase_internal.authorize_upload(p_caller jsonb, p_id uuid, p_kind text) returns tunebase_internal.uploads
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_upload tunebase_internal.uploads;
begin
  select * into v_upload from tunebase_internal.uploads
  where id = p_id and project_id = v_project_id and kind = p_kind
  for update;
  if not found then
    perform tunebase_internal.raise_api_error('upload_not_found');
  end if;
  -- Expired even if cleanup has not run yet.
  if v_upload.status = 'pending' and v_upload.expires_at <= now() then
    v_upload.status := 'expired';
  end if;
  return v_upload;
end $$;
