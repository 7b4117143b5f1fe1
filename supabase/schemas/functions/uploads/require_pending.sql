create function tunebase_internal.require_pending(p_upload tunebase_internal.uploads) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_upload.status <> 'pending' then
    perform tunebase_internal.raise_api_error('upload_not_pending', jsonb_build_object('status', p_upload.status));
  end if;
end $$;
