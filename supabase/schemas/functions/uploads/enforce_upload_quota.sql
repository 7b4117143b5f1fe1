-- Rejects an upload before its bytes arrive if its file would exceed the storage quota, or if there are too many pending
-- uploads: the size of a direct upload is only known once the client completes it.
create function tunebase_internal.enforce_upload_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_used integer;
begin
  -- Locks the project, so that the count is exact.
  perform tunebase_internal.check_storage_quota(new.project_id, new.bytes);
  select count(*) into v_used from tunebase_internal.uploads
  where project_id = new.project_id and status = 'pending' and expires_at > now();
  if v_used >= 100 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'pending uploads per project', 'limit', 100, 'used', v_used, 'fix', 'Complete or cancel one (POST /uploads/{id}/cancel).'
    ));
  end if;
  return new;
end $$;
