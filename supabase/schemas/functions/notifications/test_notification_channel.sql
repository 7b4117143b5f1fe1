-- Returns a channel for a test message: {kind, target, encrypted_url}. Raises email_not_member or email_limit_reached.
create function tunebase_internal.test_notification_channel(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_channel jsonb := tunebase_internal.notification_channel_json(v_project_id, p_id);
begin
  if v_channel ->> 'kind' = 'email' then
    perform tunebase_internal.require_email(v_project_id, v_channel ->> 'target', true);
  end if;
  return v_channel || jsonb_build_object(
    'encrypted_url', (select encrypted_url from tunebase_internal.channel_secrets where channel_id = p_id)
  );
end $$;
