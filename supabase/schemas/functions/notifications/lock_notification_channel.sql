-- Locks a channel that the caller wants to change, its deliveries first (lock_subscriber). Raises
-- notification_channel_not_found or precondition_failed.
create function tunebase_internal.lock_notification_channel(p_caller jsonb, p_id uuid)
returns tunebase.notification_channels
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_channel tunebase.notification_channels;
begin
  perform tunebase_internal.lock_subscriber(p_id);
  select * into v_channel from tunebase.notification_channels where id = p_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('notification_channel_not_found');
  end if;
  perform tunebase_internal.require_version(p_caller, v_channel.version);
  return v_channel;
end $$;
