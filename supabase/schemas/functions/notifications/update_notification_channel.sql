-- p_changes: any of {event_types, enabled}. The target cannot be changed.
create function tunebase_internal.update_notification_channel(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_channel tunebase.notification_channels := tunebase_internal.lock_notification_channel(p_caller, p_id);
  v_enabled boolean := (p_changes ->> 'enabled')::boolean;
begin
  if p_changes ? 'event_types' then
    update tunebase.notification_channels
    set event_types = array(select jsonb_array_elements_text(p_changes -> 'event_types')), updated_at = now(),
      version = version + 1
    where id = p_id;
  end if;
  if v_enabled then
    update tunebase.notification_channels
    set enabled = true, disabled_at = null, disabled_reason = null, updated_at = now(), version = version + 1
    where id = p_id and not enabled;
  elsif not v_enabled then
    perform tunebase_internal.disable_subscriber(p_id, 'a member switched it off', false);
  end if;
  return tunebase_internal.notification_channel_json(v_channel.project_id, p_id);
end $$;
