create function tunebase_internal.require_enabled(p_target_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if exists (select from tunebase.webhook_endpoints where id = p_target_id and not enabled)
    or exists (select from tunebase.notification_channels where id = p_target_id and not enabled) then
    perform tunebase_internal.raise_api_error('receiver_disabled');
  end if;
end $$;
