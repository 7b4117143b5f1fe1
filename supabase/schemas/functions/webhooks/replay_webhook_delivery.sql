-- Sends a delivery again, whatever its status, with the same webhook-id and a fresh retry schedule. A delivery that is in
-- flight stays as it is.
create function tunebase_internal.replay_webhook_delivery(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_delivery jsonb := tunebase_internal.webhook_delivery_json(v_project_id, p_id);
begin
  perform tunebase_internal.require_enabled((v_delivery ->> 'target_id')::uuid);
  if v_delivery ->> 'channel' = 'email' then
    perform tunebase_internal.require_email(v_project_id, (
      select target from tunebase.notification_channels where id = (v_delivery ->> 'channel_id')::uuid
    ), false);
  end if;
  update tunebase.webhook_deliveries
  set status = 'pending', tries = 0, next_at = now(), reason = null, delivered_at = null, leased_until = null
  where id = p_id and not coalesce(leased_until > now(), false);
  return tunebase_internal.webhook_delivery_json(v_project_id, p_id);
end $$;
