-- An upload that has no room for its file is refused before its bytes come, and so are more pending ones than anybody
-- needs: what a client sends to Storage itself is only measured once it says that it is complete.
create function tunebase_internal.enforce_upload_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_used integer;
begin
  -- Locks the project, so that the count is true.
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
