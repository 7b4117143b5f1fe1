-- Where a test message goes: {kind, target, encrypted_url}.
create function tunebase_internal.test_notification_channel(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.notification_channel_json(tunebase_internal.authorize(p_caller, 'webhooks:write'), p_id) || jsonb_build_object(
    'encrypted_url', (select encrypted_url from tunebase_internal.channel_secrets where channel_id = p_id)
  );
end $$;
