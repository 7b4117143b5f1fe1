create function tunebase_internal.cancel_upload(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_id, 'parts');
begin
  if v_upload.status <> 'cancelled' then
    perform tunebase_internal.require_pending(v_upload);
    update tunebase_internal.uploads set status = 'cancelled' where id = p_id;
    perform tunebase_internal.discard_upload_parts(p_id, '{}');
  end if;
  return tunebase_internal.upload_json(p_id);
end $$;
