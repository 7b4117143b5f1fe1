-- Cancels an upload, including direct ones: pending uploads count against the storage quota.
create function tunebase_internal.cancel_upload(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_kind text;
  v_upload tunebase_internal.uploads;
begin
  select kind into v_kind from tunebase_internal.uploads where id = p_id;
  v_upload := tunebase_internal.authorize_upload(p_caller, p_id, coalesce(v_kind, 'parts'));
  if v_upload.status <> 'cancelled' then
    perform tunebase_internal.require_pending(v_upload);
    update tunebase_internal.uploads set status = 'cancelled' where id = p_id;
    perform tunebase_internal.discard_upload(v_upload);
  end if;
  return tunebase_internal.upload_json(p_id);
end $$;
